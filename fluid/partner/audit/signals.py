"""What an attacker reads off an export: signals by channel."""

from __future__ import annotations

import numpy as np

from fluid.learn.task import Task
from fluid.partner.audit.exports import Exports

# Log-odds are taken of probabilities cut here, so that those of 0 and 1 are finite.
_LEAST = 1e-4


def log_odds(values: np.ndarray) -> np.ndarray:
    """Log-odds of values in [0, 1], cut so that 0 and 1 stay finite."""
    inner = np.clip(values, _LEAST, 1.0 - _LEAST)
    return np.asarray(np.log(inner) - np.log1p(-inner))


def agreement(task: Task, prediction: np.ndarray, label: np.ndarray, scale: float) -> np.ndarray:
    """How well predictions agree with a label: log-odds of the true class, or minus the error.

    Parameters
    ----------
    task
        What is predicted.
    prediction
        Shape (..., n_outputs).
    label
        Class index or number, of the shape of `prediction` without its last axis.
    scale
        In regression: the standard deviation that errors are divided by.
    """
    if not task.is_classification:
        return -np.abs(prediction[..., 0] - label) / max(scale, 1e-9)
    if task.kind == "binary":
        positive = prediction[..., 0]
        return log_odds(np.where(label > 0, positive, 1.0 - positive))
    chosen = np.broadcast_to(label.astype(np.int64), prediction.shape[:-1])[..., None]
    return log_odds(np.take_along_axis(prediction, chosen, axis=-1)[..., 0])


def fill(signal: np.ndarray) -> np.ndarray:
    """NaN replaced by the mean over the teachers that label the compound, or by 0.

    What an abstention gives away is attacked in the metadata channel.
    """
    known = np.isfinite(signal)
    count = known.sum(axis=0)
    mean = np.where(known, signal, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(known, signal, mean)


def row_signal(task: Task, exports: Exports, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Agreement of a compound's own row with its label, shape (S, n)."""
    scale = float(labels.std()) if len(labels) else 1.0
    return fill(agreement(task, exports.prediction[:, rows], labels[None, :], scale))


def metadata_signals(exports: Exports, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The columns beside the prediction, each of shape (S, n)."""
    found = {
        "reliability": fill(log_odds(exports.reliability[:, rows])),
        "uncertainty": fill(-exports.uncertainty[:, rows].mean(axis=2)),
        # Abstentions, under the name that audit files know them by.
        "silence": np.isfinite(exports.reliability[:, rows]).astype(np.float64),
    }
    if exports.similarity is not None:
        found["similarity"] = fill(exports.similarity[:, rows])
    return found


def neighbour_signals(
    task: Task, exports: Exports, near: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Agreement of the analogues' rows with the label of the compound, shape (S, n, k)."""
    scale = float(labels.std()) if len(labels) else 1.0
    found = agreement(task, exports.prediction[:, near], labels[None, :, None], scale)
    return np.asarray(fill(found))


def neighbour_metadata(exports: Exports, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of the reliability, and the negative uncertainty, of the analogues' rows.

    A compound in the training data is a neighbour of its analogues, and their reliability follows
    the similarity to their neighbours. Both of shape (S, n, k).
    """
    reliability = fill(log_odds(exports.reliability[:, near]))
    return reliability, fill(-exports.uncertainty[:, near].mean(axis=3))


def pull(signals: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Mean of the analogues' signals, weighted by squared similarity: shape (..., n)."""
    weights = similarity.astype(np.float64) ** 2
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray((signals * weights).sum(axis=-1))
