"""Membership attacks: from the exports of shadow teachers to how probably a compound is a member.

Every attack takes a signal phi of shape (S, n), read from what teacher t exports for (or near)
compound x, and `inside`, boolean of the same shape, whether x was in the training data of t. It
returns scores of the same shape. Each teacher is the target once: the score of (t, x) uses phi[t]
and, of the *other* teachers, phi and membership. Membership is drawn by independent coins. So
inside[t, x] is independent of the other teachers, and an attack on a release that does not depend
on it scores members and non-members alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Shadow teachers with (or without) a compound that a mean and a spread need.
_FEWEST = 2
# Keeps divisors above zero where all signals are equal; far below any rounding step.
_TINY = 1e-9

Attack = Callable[[np.ndarray, np.ndarray], np.ndarray]


def threshold(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The signal itself, no shadow teachers (Yeom et al. 2018, arXiv 1709.01604)."""
    return signal


def _others(signal: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, squared deviations' sum and number over the other teachers in which `chosen` holds."""
    weight = chosen.astype(np.float64)
    count = weight.sum(axis=0) - weight
    total = (weight * signal).sum(axis=0) - weight * signal
    square = (weight * signal**2).sum(axis=0) - weight * signal**2
    mean = total / np.maximum(count, 1.0)
    return mean, np.maximum(square - count * mean**2, 0.0), count


def _spread(squares: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Standard deviation of each compound, drawn towards that of all compounds.

    With few shadow teachers Carlini et al. use one variance for all compounds. Here that variance
    counts as much as eight teachers.
    """
    enough = count >= _FEWEST
    usual = squares[enough].sum() / max(float((count[enough] - 1.0).sum()), 1.0)
    variance = (squares + 8.0 * usual) / (np.maximum(count - 1.0, 0.0) + 8.0)
    return np.asarray(np.sqrt(np.maximum(variance, _TINY)))


def lira_online(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Likelihood ratio of two normal distributions, with and without x (LiRA).

    log N(phi; mean_in, sd) - log N(phi; mean_out, sd), means over the other teachers trained with
    and without x, one standard deviation for both (Carlini et al. 2022, arXiv 2112.03570).
    """
    mean_in, squares_in, count_in = _others(signal, inside)
    mean_out, squares_out, count_out = _others(signal, ~inside)
    sd = _spread(squares_in + squares_out, count_in + count_out - 1.0)
    ratio = ((signal - mean_out) ** 2 - (signal - mean_in) ** 2) / (2.0 * sd**2)
    return np.where((count_in >= _FEWEST) & (count_out >= _FEWEST), ratio, 0.0)


def lira_offline(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How far the signal lies above that of teachers without x, in standard deviations.

    The offline form of Carlini et al. 2022: (phi - mean_out) / sd_out.
    """
    mean, squares, count = _others(signal, ~inside)
    score = (signal - mean) / _spread(squares, count)
    return np.where(count >= _FEWEST, score, 0.0)


def rmia(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Robust membership inference: x against the other compounds z (RMIA).

    Share of z with [p(x | t) / p(x)] / [p(z | t) / p(z)] >= 1, p(x) the mean over the other
    teachers trained with and without x, half each (Zarifzadeh et al. 2024, arXiv 2312.03262).

    Parameters
    ----------
    signal
        Log-odds of the true label, or a log-density: p is the logistic function of it.
    inside
        Who was in.
    """
    probability = 1.0 / (1.0 + np.exp(-np.clip(signal, -30.0, 30.0)))
    mean_in, _, count_in = _others(probability, inside)
    mean_out, _, count_out = _others(probability, ~inside)
    both = np.where(
        count_in == 0, mean_out, np.where(count_out == 0, mean_in, (mean_in + mean_out) / 2.0)
    )
    ratio = probability / np.maximum(both, _TINY)
    ordered = np.sort(ratio, axis=1)
    ranks = [np.searchsorted(o, r, side="right") for o, r in zip(ordered, ratio, strict=True)]
    return np.asarray(ranks) / ratio.shape[1]


SIGNAL_ATTACKS: dict[str, Attack] = {
    "threshold": threshold,
    "lira-online": lira_online,
    "lira-offline": lira_offline,
    "rmia": rmia,
}


def lira_joint(signals: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Sum of `lira_online` over several signals, shape (S, n, k)."""
    parts = [lira_online(signals[:, :, j], inside) for j in range(signals.shape[2])]
    return np.asarray(np.sum(parts, axis=0))


def learned(features: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """An attack model: logistic regression from features to membership (Shokri et al. 2017).

    Trained over all compounds of half the teachers, it scores the other half, and the other way
    round (arXiv 1610.05820). It finds with few teachers what all compounds have in common.

    Parameters
    ----------
    features
        Shape (S, n, k); a column is centred by compound over the teachers it learns from, so that
        it describes the teacher and not the compound.
    inside
        Who was in.
    """
    from sklearn.linear_model import LogisticRegression

    half = np.arange(len(features)) % 2 == 0
    scores = np.zeros(inside.shape)
    for mine in (half, ~half):
        if not mine.any() or mine.all():
            continue
        centre = features[~mine].mean(axis=0)
        scale = np.maximum((features[~mine] - centre).std(axis=(0, 1)), _TINY)
        known = ((features[~mine] - centre) / scale).reshape(-1, features.shape[2])
        asked = ((features[mine] - centre) / scale).reshape(-1, features.shape[2])
        truth = inside[~mine].ravel()
        if truth.all() or not truth.any():
            continue
        model = LogisticRegression(C=0.1, max_iter=500).fit(np.clip(known, -8, 8), truth)
        scores[mine] = model.decision_function(np.clip(asked, -8, 8)).reshape(inside[mine].shape)
    return scores
