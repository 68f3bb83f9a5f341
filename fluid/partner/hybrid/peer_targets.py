"""Targets made of the other partners' labels: the pooled labels without the partner's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.learn.calibration import fit_line
from fluid.learn.estimators import KernelRidge, logit
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.model import TrainedModel
from fluid.learn.reliability import DOMAIN_NEIGHBOURS
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels, PooledSet, without_partner
from fluid.soft_labels.targets import CLIP, sample_weights, soft_targets, undo_shrinkage
from fluid.soft_labels.teacher_labels import TeacherLabels

# A hybrid learns the pooled labels of this many public compounds, those nearest to its own.
NEAREST_PUBLIC = 1500


def peer_labels(pooled: PooledSet, own: Mapping[str, TeacherLabels]) -> PooledSet:
    """Pooled labels of the other partners alone.

    Parameters
    ----------
    pooled
        Labels of all partners.
    own
        The labels that this partner released, by task.
    """
    labels = {
        name: without_partner(labels, own[name]) if name in own else labels
        for name, labels in pooled.labels.items()
    }
    return replace(pooled, labels=labels)


def student_twicing(student: TrainedModel) -> dict[str, Twicing]:
    """The twicing of the labels that a student learned from, by task.

    Raises
    ------
    ValueError
        If the student's card does not state it correctly.
    """
    stated: Any = student.card.training.get("twicing", {})
    if not isinstance(stated, dict):
        raise ValueError("twicing is not a table")
    return {str(name): Twicing.from_dict(values) for name, values in stated.items()}


def nearest_labelled(public: Compounds, pooled: PooledLabels, private: np.ndarray) -> np.ndarray:
    """Ascending positions of the labelled public compounds nearest to the private ones.

    Parameters
    ----------
    public, pooled
        The public compounds, and the pooled labels of the task.
    private
        Packed fingerprints of the private compounds.
    """
    known = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    similarity = neighbour_similarity(public.fingerprints[known], private, DOMAIN_NEIGHBOURS)
    order = np.argsort(-similarity, kind="stable")[:NEAREST_PUBLIC]
    return np.sort(known[order])


def peer_targets(
    public: Compounds,
    task: Task,
    pooled: PooledLabels,
    near: np.ndarray,
    twicing: Twicing | None,
    jobs: int = 1,
) -> np.ndarray:
    """Targets of some public compounds: pooled labels after the shrinkage correction and twicing.

    A student treats the labels of all public compounds so; here it is done for those near the
    private compounds, about the mean of all labels and with the student's penalties: the part that
    changes fast from compound to compound depends on near compounds only. Compounds weigh by
    squared reliability, as in a student by default.

    Parameters
    ----------
    public, pooled
        The public compounds and the pooled labels of the task.
    task
        What is predicted.
    near
        Ascending positions of m compounds with a label.
    twicing
        The student's, of the labels of all partners; None leaves labels as they are.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        float64 of shape (m, n_outputs): values in the range of the task (regression), or log-odds
        between those of 0.01 and 0.99 (classification).
    """
    known = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    targets = soft_targets(task, undo_shrinkage(task, pooled, known))
    here = np.searchsorted(known, near)
    found = targets[here]
    if twicing is not None:
        twicing = twicing.of_fewer(pooled.disagreement_share, pooled.slope)
    if twicing is not None and len(near):
        stated = sample_weights(pooled, known)
        weights = np.ones(len(known)) if stated is None else stated
        centre = np.average(targets, axis=0, weights=weights)
        ridge = KernelRidge(jobs=jobs, twicing=twicing)
        ridge.kernel_ = MixedKernel().fit(public.take(known))
        about = targets[here] - centre
        found = centre + ridge.apply_twicing(public.take(near), about, weights[here], len(known))
    bound = float(logit(np.array([1.0 - CLIP]), CLIP)[0])
    low, high = (-bound, bound) if task.is_classification else task.bounds
    return np.clip(found, low, high)


def align_targets(
    task: Task,
    targets: np.ndarray,
    peers: np.ndarray | None,
    measured: np.ndarray,
    signs: np.ndarray | None = None,
) -> np.ndarray:
    """Targets of a regression task on the line from the peers' predictions to measured values.

    Partners measure in different ways, so that their values can differ by a constant; predictions
    outside the peers' chemistry can differ by more.

    Parameters
    ----------
    task
        What is predicted.
    targets
        See `peer_targets`, shape (m, n_outputs).
    peers
        Predictions of the peers' labels alone for k measured compounds, shape (k, n_outputs); None
        if there are none.
    measured
        Measured values of these compounds, same shape.
    signs
        Which of them are bounds, shape (k,); None if none is.

    Returns
    -------
    numpy.ndarray
        Shape (m, n_outputs); the targets of a classification task are returned as they are.
    """
    if task.is_classification or peers is None:
        return targets
    lines = [fit_line(*pair, signs) for pair in zip(peers.T, measured.T, strict=True)]
    columns = [line.line(column) for line, column in zip(lines, targets.T, strict=True)]
    return np.stack(columns, axis=1)
