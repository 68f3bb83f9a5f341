"""Expected correctness of each call: the applicability domain with a stated error rate."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.judgement import NEVER, DomainInput, DomainResult, HeldOut
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, TRUSTED, ReliabilityMap

# Share of wrong calls among held-out compounds that lie inside the reliability domain, at most.
STATED_ERROR = 0.10


# An error rate of fewer held-out compounds than these is not stated.
FEWEST_HELD_OUT = 30


# A measured rate is not claimed farther out than where this share of the held-out compounds lies.
FARTHEST_SHARE = 0.2


_EDGE = 1e-3


def sureness(values: np.ndarray, threshold: float, similarity: np.ndarray) -> np.ndarray:
    """How sure a call is: its margin times the square root of similarity.

    The margin is the distance from the decision threshold as a share of what is possible on that
    side; of several classes, the distance between the two most probable ones. Margin and
    similarity together tell right from wrong better than either does alone: a sure call far
    from everything known is no more to be trusted than a doubtful one nearby.

    Parameters
    ----------
    values
        Probabilities of shape (n, n_outputs).
    threshold
        Of a binary task.
    similarity
        Mean Tanimoto similarity to the five nearest reference compounds, (n,), in [0, 1].

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,) in [0, 1]; NaN where there is no prediction.
    """
    if values.shape[1] > 1:
        top = np.sort(values, axis=1)
        margin = top[:, -1] - top[:, -2]
    else:
        cut = min(max(threshold, _EDGE), 1.0 - _EDGE)
        distance = values[:, 0] - cut
        margin = np.where(distance >= 0.0, distance / (1.0 - cut), -distance / cut)
    return np.clip(margin, 0.0, 1.0) * np.sqrt(similarity.astype(np.float64))


class ReliabilityDomain:
    """Expected correctness of each call; inside where at most a stated share of calls is wrong.

    The expectation is an isotonic function of `sureness`, fitted on compounds that were held out
    and interpolated between the centres of its blocks, which keeps it rising (Oron and Flournoy
    2017, Statistics in Biopharmaceutical Research 9, 258-267). Inside is every call so sure that,
    of all held-out calls as sure or surer, the expected share of wrong ones is at most the stated
    error. With measured labels one more wrong call, surer than all, is counted in: as in
    conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814), so that few compounds do
    not promise too much.

    What the stated rate means depends on who held compounds out:

    - Of a teacher or a reference it is measured, on its own compounds out of fold, and holds for
      compounds like these. It is not claimed for compounds farther from the reference compounds
      than four fifths of the held-out ones: outside they are, however sure the call.
    - Of a student nothing was measured. It is an expectation under the teachers' labels. Where
      teachers know next to none of the public compounds none is stated, and nothing is inside.
    - A hybrid satisfies both: see `stricter`.

    Numbers have no right and wrong: their score is the expected share of variance explained, they
    are inside from a fifth on, and no error rate is stated.
    """

    kind = "reliability"

    def __init__(self, stated_error: float = STATED_ERROR) -> None:
        self.stated_error = stated_error
        self.knots_ = np.zeros(0)
        self.correct_ = np.zeros(0)
        self.threshold_ = NEVER
        self.least_similarity_ = 0.0

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """See `Domain.fit`; reference compounds matter through similarity alone."""
        return self if held_out is None else self.fit_calls(held_out)

    def fit_calls(self, held_out: HeldOut) -> Self:
        """Learn how right calls are from those of held-out compounds."""
        from sklearn.isotonic import IsotonicRegression

        chance = 1.0 / max(2, held_out.values.shape[1])
        sure = sureness(held_out.values, held_out.threshold, held_out.similarity)
        known = np.isfinite(sure) & np.isfinite(held_out.correct) & (held_out.weights > 0.0)
        sure, correct = sure[known], held_out.correct[known].astype(np.float64)
        weights = held_out.weights[known].astype(np.float64)
        n = len(sure)
        self.knots_, self.correct_ = np.array([0.0, 1.0]), np.array([chance, chance])
        self.threshold_ = NEVER
        if n < FEWEST_HELD_OUT:
            return self
        weights /= weights.mean()
        if held_out.measured:
            near = held_out.similarity[known].astype(np.float64)
            self.least_similarity_ = float(np.quantile(near, FARTHEST_SHARE, method="lower"))
            sure, correct = np.append(sure, 1.0), np.append(correct, 0.0)
            weights = np.append(weights, 1.0)
        isotonic = IsotonicRegression(y_min=0.0, y_max=1.0).fit(sure, correct, weights)
        fitted = np.round(isotonic.predict(sure), 12)
        self._set_knots(sure, fitted, weights, chance)
        if not held_out.trusted:
            return self
        order = np.argsort(-sure, kind="stable")
        wrong = np.cumsum((weights * (1.0 - fitted))[order]) / np.cumsum(weights[order])
        # A threshold falls between two different values, never among equal ones.
        last = np.append(sure[order][:-1] > sure[order][1:], True)
        enough = np.arange(1, len(sure) + 1) >= FEWEST_HELD_OUT + int(held_out.measured)
        allowed = np.flatnonzero(last & enough & (wrong <= self.stated_error + 1e-9))
        if len(allowed):
            everything = allowed[-1] == len(sure) - 1
            self.threshold_ = 0.0 if everything else float(sure[order][allowed[-1]])
        return self

    def _set_knots(
        self, sure: np.ndarray, fitted: np.ndarray, weights: np.ndarray, chance: float
    ) -> None:
        levels, block = np.unique(fitted, return_inverse=True)
        total = np.bincount(block, weights)
        centres = np.clip(np.bincount(block, weights * sure) / total, 0.0, 1.0)
        # A call without margin is a guess; one that is as sure as can be is taken to be right.
        if centres[0] > 0.0:
            centres, levels = np.append(0.0, centres), np.append(min(chance, levels[0]), levels)
        if centres[-1] < 1.0:
            centres, levels = np.append(centres, 1.0), np.append(levels, 1.0)
        self.knots_, self.correct_ = centres, levels

    def expected(self, sure: np.ndarray) -> np.ndarray:
        """Expected correctness in [0, 1] from sureness, shape (n,)."""
        return np.interp(sure, self.knots_, self.correct_)

    def stricter(self, other: ReliabilityDomain) -> ReliabilityDomain:
        """A domain that expects the less of two, and where both keep their stated rates.

        A hybrid's out-of-fold calls are favourable: a private label reaches its student through
        the labels that the partner's own teacher gave to public neighbours. What was held out when
        the student was distilled has no such help, but no measured label either. It reaches
        farther than the partner's compounds, so that no similarity is asked for.

        Parameters
        ----------
        other
            Of the same task; one that was not fitted on calls changes nothing.
        """
        if not len(other.knots_) or not len(self.knots_):
            return self
        made = ReliabilityDomain(min(self.stated_error, other.stated_error))
        made.knots_ = np.union1d(self.knots_, other.knots_)
        made.correct_ = np.minimum(self.expected(made.knots_), other.expected(made.knots_))
        made.threshold_ = max(self.threshold_, other.threshold_)
        return made

    def assess(self, queries: Compounds, said: DomainInput) -> DomainResult:
        """See `Domain.assess`."""
        if not len(self.knots_):
            return self._assess_numbers(said)
        sure = sureness(said.values, said.threshold, said.near.similarity)
        known = np.isfinite(sure)
        sure = np.where(known, sure, 0.0)
        score = np.where(known, self.expected(sure), 0.0)
        sure_enough = known & (sure >= self.threshold_)
        inside = sure_enough & (said.near.similarity >= self.least_similarity_)
        if self.threshold_ > 1.0:
            asked = f"of no calls it is known that at most {self.stated_error:.0%} are wrong"
        elif self.threshold_ <= 0.0:
            asked = f"all are inside: at most {self.stated_error:.0%} wrong"
        else:
            bar = float(self.expected(np.array([self.threshold_]))[0])
            asked = f"inside from {bar:.2f}: at most {self.stated_error:.0%} wrong"
        reasons = [
            f"expected correct {value:.2f} ({asked})" if answered else "no prediction"
            for value, answered in zip(score, known, strict=True)
        ]
        for row in np.flatnonzero(sure_enough & ~inside):
            reasons[row] = (
                f"expected correct {score[row]:.2f}, but mean similarity to {DOMAIN_NEIGHBOURS} "
                f"nearest {said.near.similarity[row]:.2f} < {self.least_similarity_:.2f}: too far "
                "for the stated error rate"
            )
        return DomainResult(score, inside, reasons)

    def _assess_numbers(self, said: DomainInput) -> DomainResult:
        score = np.nan_to_num(said.reliability.astype(np.float64))
        reasons = [
            f"expected share of variance explained {value:.2f} (inside from {TRUSTED:.2f}; no "
            "error rate is stated)"
            for value in score
        ]
        return DomainResult(score, score >= TRUSTED, reasons)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Domain.to_state`."""
        params = {
            "stated_error": self.stated_error,
            "threshold": self.threshold_,
            "least_similarity": self.least_similarity_,
        }
        return params, {"knots": self.knots_, "correct": self.correct_}

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Domain.from_state`."""
        made = cls(float(params["stated_error"]))
        made.threshold_ = float(params["threshold"])
        made.least_similarity_ = float(params["least_similarity"])
        made.knots_ = arrays["knots"].astype(np.float64)
        made.correct_ = arrays["correct"].astype(np.float64)
        numbers_right = (
            0.0 < made.stated_error < 1.0
            and 0.0 <= made.threshold_ <= NEVER
            and 0.0 <= made.least_similarity_ <= 1.0
        )
        if not numbers_right:
            raise ValueError("stated error or a threshold of a domain is out of range")
        both = np.concatenate([made.knots_, made.correct_]) if made.knots_.ndim == 1 else None
        if (
            both is None
            or made.knots_.shape != made.correct_.shape
            or not np.all((both >= 0.0) & (both <= 1.0))
            or np.any(np.diff(made.knots_) <= 0.0)
            or np.any(np.diff(made.correct_) < 0.0)
        ):
            raise ValueError("knots of a domain do not rise from 0 to 1")
        return made
