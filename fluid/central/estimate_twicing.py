"""How much twicing pooled labels need, estimated from the teachers' disagreement."""

from __future__ import annotations

import numpy as np

from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Step, Twicing
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PoolingResult
from fluid.soft_labels.shrinkage import centred_disagreement
from fluid.soft_labels.targets import soft_targets

# The sample's components, by falling eigenvalue, are divided here into bands.
_EDGES = (10, 100, 1000)
# Smaller bands, and smaller samples, are too few to estimate a slope from.
_FEWEST_IN_BAND, _FEWEST = 10, 50
_LARGEST_SLOPE = 4.0
# Residuals are steps of a descent whose operators have norms up to one. A step made longer than
# twofold could overshoot by more than was missing.
_LARGEST_SLOPE_OF_RESIDUALS = 2.0
_LEAST_GAIN = 1e-3


class SampleComponents:
    """Components of the kernel matrix of a sample, kept for the tasks that share the sample.

    Parameters
    ----------
    library
        The public compounds.
    """

    def __init__(self, library: CompoundStream) -> None:
        self.library = library
        self._of: tuple[bytes, bytes] | None = None
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def find(self, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Falling eigenvalues and their vectors, of compounds at `rows` times their weights."""
        asked = rows.tobytes(), weights.tobytes()
        if self._found is None or self._of != asked:
            compounds = self.library.take(rows)
            kernel = MixedKernel().fit(compounds)
            prepared = kernel.prepare(compounds)
            root = np.sqrt(weights)
            gram = kernel(prepared, prepared).astype(np.float64) * root[:, None] * root
            values, vectors = np.linalg.eigh(gram)
            self._of = asked
            self._found = np.maximum(values[::-1], 1e-12), np.ascontiguousarray(vectors[:, ::-1])
        return self._found


def estimate_twicing(
    library: CompoundStream | SampleComponents, task: Task, pooled: PoolingResult
) -> Twicing | None:
    """How pooled labels are to be sharpened.

    Teachers of few compounds agree on what changes slowly from compound to compound and disagree on
    the rest, and their mean has lost more of the rest than any of them. This is estimated by
    smoothness, that is, by component of the kernel matrix: if each teacher is calibrated, so that
    the covariance of its component with the truth's is its own variance, the truth regresses on the
    pooled component with the slope ``1 + E[disagreement^2] / E[pooled^2]``
    (`fluid.soft_labels.shrinkage.shrinkage_slope` is the same for all components together). No
    measured label is needed.

    The slopes are found in four bands of the components of a sample, the first 10, 100, 1,000 and
    the rest, and made to rise from band to band (isotonic regression), since a few components can
    hold a teacher's mean. The components of a band and beyond are the residual of ridge regression
    with the penalty of the band's first eigenvalue, compounds weighing by squared reliability, as
    in a student.

    Parameters
    ----------
    library
        The public compounds, or their components, which tasks with the same sample share.
    task, pooled
        The task and its pooled labels with their sample. In a further round the sample holds
        residuals: only these are sharpened, and at most twofold.

    Returns
    -------
    Twicing or None
        Relative to the student's targets, whose shrinkage is undone already with
        ``pooled.labels.slope``; six digits, so that it does not depend on a processor's last bits.
        None if labels are learned as they are: there is no sample, or nobody disagrees.
    """
    if pooled.sample is None:
        return None
    sample, weights = pooled.sample.used()
    if len(weights) < _FEWEST:
        return None
    components = library if isinstance(library, SampleComponents) else SampleComponents(library)
    values, vectors = components.find(sample.rows, weights)
    root = np.sqrt(weights)

    label = soft_targets(task, sample.label())
    # A sample that many tasks share may hold compounds that nobody labelled in this one.
    labelled = sample.known.any(axis=0)
    if not labelled.any():
        return None
    label = label - np.average(label[labelled], axis=0, weights=weights[labelled])
    label[~labelled] = 0.0
    # In units of the label, so that the unit of a task changes nothing.
    unit = float(np.sqrt(weights @ (label**2).sum(axis=1))) or 1.0
    predictions = soft_targets(task, sample.predictions)
    predictions = np.where(sample.known[:, :, None], predictions, 0.0) / unit
    pooled_power = ((vectors.T @ (root[:, None] * label / unit)) ** 2).sum(axis=1)
    disagreement = centred_disagreement(sample, predictions, weights) * root[:, None]
    disagreed = sum(((vectors.T @ teacher) ** 2).sum(axis=1) for teacher in disagreement)

    edges = [edge for edge in _EDGES if edge + _FEWEST_IN_BAND <= len(values)]
    power, noise = (np.add.reduceat(each, [0, *edges]) for each in (pooled_power, disagreed))
    largest = _LARGEST_SLOPE if pooled.base is None else _LARGEST_SLOPE_OF_RESIDUALS
    slopes = np.minimum(_rising(1.0 + noise / np.maximum(power, 1e-12), power), largest)
    slopes = slopes / pooled.labels.slope
    ridges = [float(np.sqrt(values[edge - 1] * values[edge])) for edge in edges]
    steps = [
        Step(float(f"{ridge:.6g}"), float(f"{gain:.6g}"))
        for ridge, gain in zip(ridges, np.diff(slopes), strict=True)
        if gain > _LEAST_GAIN
    ]
    base = float(f"{slopes[0]:.6g}")
    if not steps and abs(base - 1.0) < _LEAST_GAIN:
        return None
    return Twicing(base, tuple(steps))


def _rising(slopes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from sklearn.isotonic import IsotonicRegression

    made = IsotonicRegression()
    weights = np.maximum(weights, 1e-12)
    return np.asarray(made.fit_transform(np.arange(len(slopes)), slopes, sample_weight=weights))
