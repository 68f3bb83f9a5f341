"""Expected correctness of each call: the applicability domain with a stated error rate."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.estimators import State
from fluid.learn.judgement import NEVER, DomainInput, DomainResult, HeldOut
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, TRUSTED, ReliabilityMap

# Largest share of wrong calls among the held-out compounds inside the reliability domain.
STATED_ERROR = 0.10
# With fewer held-out compounds no error rate is stated.
FEWEST_HELD_OUT = 30
# A measured rate does not cover compounds farther out than all but this share of the held-out ones.
FARTHEST_SHARE = 0.2
# Decision thresholds stay this far from 0 and 1, which leave no margin on one side.
_EDGE = 1e-3


def sureness(values: np.ndarray, threshold: float, similarity: np.ndarray) -> np.ndarray:
    """How sure a call is: its margin times the square root of similarity.

    The margin is the distance from the decision threshold, as a share of the largest distance on
    that side; with several classes, the distance between the two most probable ones. Margin and
    similarity together tell right from wrong better than either alone: a sure call far from all
    known compounds deserves no more trust than a doubtful one nearby.

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
    2017, Statistics in Biopharmaceutical Research 9, 258-267). A call is inside if at most the
    stated share is expected to be wrong among all held-out calls as sure or surer. With measured
    labels one more wrong call, surer than all, is added, as in conformal risk control (Angelopoulos
    et al. 2022, arXiv 2208.02814): few compounds then do not promise too much.

    The meaning of the stated rate depends on who held compounds out:

    - For a teacher or a reference it is measured on its own compounds out of fold, and holds for
      compounds like these. Compounds farther from the reference compounds than four fifths of the
      held-out ones are outside, however sure the call.
    - For a student nothing was measured: the rate is expected under the teachers' labels. If the
      teachers know hardly any public compound, no rate is stated and nothing is inside.
    - A hybrid satisfies both: see `stricter`.

    A regression task has no right and wrong calls: the score is the expected share of variance
    explained, compounds are inside from a fifth on, and no error rate is stated.
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
        """See `Domain.fit`; reference compounds enter through similarity only."""
        return self if held_out is None else self.fit_calls(held_out)

    def fit_calls(self, held_out: HeldOut) -> Self:
        """Fit expected correctness and the threshold on calls of held-out compounds."""
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
        # A call without margin is a guess, and the surest possible call counts as right.
        if centres[0] > 0.0:
            centres, levels = np.append(0.0, centres), np.append(min(chance, levels[0]), levels)
        if centres[-1] < 1.0:
            centres, levels = np.append(centres, 1.0), np.append(levels, 1.0)
        self.knots_, self.correct_ = centres, levels

    def expected(self, sure: np.ndarray) -> np.ndarray:
        """Expected correctness in [0, 1] from sureness, shape (n,)."""
        return np.interp(sure, self.knots_, self.correct_)

    def stricter(self, other: ReliabilityDomain) -> ReliabilityDomain:
        """A domain with the lower expectation of two, inside where both keep their stated rates.

        A hybrid's out-of-fold calls are favourable: a private label reaches the student through
        the labels that the partner's own teacher gave to public neighbours. The compounds held out
        when the student was distilled have no such help, but no measured label either. They reach
        farther than the partner's compounds, so that no least similarity is needed.

        Parameters
        ----------
        other
            The domain of the same task in the student; it changes nothing if it was not fitted on
            calls.
        """
        if not len(other.knots_) or not len(self.knots_):
            return self
        made = ReliabilityDomain(min(self.stated_error, other.stated_error))
        made.knots_ = np.union1d(self.knots_, other.knots_)
        made.correct_ = np.minimum(self.expected(made.knots_), other.expected(made.knots_))
        made.threshold_ = max(self.threshold_, other.threshold_)
        return made

    def assess(self, queries: Compounds, given: DomainInput) -> DomainResult:
        """See `Domain.assess`."""
        if not len(self.knots_):
            return self._assess_regression(given)
        sure = sureness(given.values, given.threshold, given.near.similarity)
        known = np.isfinite(sure)
        sure = np.where(known, sure, 0.0)
        score = np.where(known, self.expected(sure), 0.0)
        sure_enough = known & (sure >= self.threshold_)
        inside = sure_enough & (given.near.similarity >= self.least_similarity_)
        if self.threshold_ > 1.0:
            bound = f"nothing is inside: no bound keeps wrong calls to {self.stated_error:.0%}"
        elif self.threshold_ <= 0.0:
            bound = f"all are inside: at most {self.stated_error:.0%} wrong"
        else:
            least = float(self.expected(np.array([self.threshold_]))[0])
            bound = f"inside from {least:.2f}: at most {self.stated_error:.0%} wrong"
        reasons = [
            f"expected correct {value:.2f} ({bound})" if answered else "no prediction"
            for value, answered in zip(score, known, strict=True)
        ]
        for row in np.flatnonzero(sure_enough & ~inside):
            reasons[row] = (
                f"expected correct {score[row]:.2f}, but mean similarity to {DOMAIN_NEIGHBOURS} "
                f"nearest {given.near.similarity[row]:.2f} < {self.least_similarity_:.2f}: too far "
                "for the stated error rate"
            )
        return DomainResult(score, inside, reasons)

    def _assess_regression(self, given: DomainInput) -> DomainResult:
        score = np.nan_to_num(given.reliability.astype(np.float64))
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
        state = State(cls.kind, params, arrays)
        state.has_only(["stated_error", "threshold", "least_similarity"], ["knots", "correct"])
        made = cls(state.number("stated_error"))
        made.threshold_ = state.number("threshold")
        made.least_similarity_ = state.number("least_similarity")
        made.knots_ = state.array("knots", np.float64)
        made.correct_ = state.array("correct", np.float64)
        numbers_right = (
            0.0 < made.stated_error < 1.0
            and 0.0 <= made.threshold_ <= NEVER
            and 0.0 <= made.least_similarity_ <= 1.0
        )
        if not numbers_right:
            raise ValueError("stated error or a threshold of a domain is out of range")
        both = np.concatenate([made.knots_, made.correct_])
        if (
            made.knots_.shape != made.correct_.shape
            or not np.all((both >= 0.0) & (both <= 1.0))
            or np.any(np.diff(made.knots_) <= 0.0)
            or np.any(np.diff(made.correct_) < 0.0)
        ):
            raise ValueError("knots of a domain do not rise from 0 to 1")
        return made
