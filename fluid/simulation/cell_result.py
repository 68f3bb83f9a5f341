"""What a study finds in one virtual consortium, a cell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fluid.simulation.predictions import LabelledPrediction, QueryPrediction

# Kinds of model, as in the column `kind` of the results.
TEACHER, STUDENT, HYBRID, REFERENCE = "teacher", "student", "hybrid", "reference"
MEAN, PAPER, CEILING = "mean", "paper", "ceiling"
# Names of the models that a cell has one of; the student is called like its kind.
MEAN_NAME, PAPER_NAME = "mean of teachers", "paper's student"
# What the public set can carry: all data as one partner's, distilled like a consortium's.
CEILING_NAME = "student of pooled data"
# Names of the tests.
EXTERNAL, SCAFFOLD, RANDOM = "external", "scaffold", "random"


@dataclass(frozen=True)
class ModelResult:
    """Predictions of one model of a cell.

    Attributes
    ----------
    name, kind, partner
        Such as ("hybrid of partner-3", "hybrid", "partner-3"); the partner is empty for models
        that belong to no partner.
    predictions
        Of the test compounds, by task.
    out_of_fold
        Of its partner's own compounds, by task; empty for models that belong to no partner.
    """

    name: str
    kind: str
    partner: str
    predictions: dict[str, QueryPrediction]
    out_of_fold: dict[str, LabelledPrediction] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """One virtual consortium and all its models.

    Attributes
    ----------
    name, partition, seed
        Which one it is.
    sizes
        Compounds by partner.
    tests
        Name of the test of each test compound, shape (n,).
    labels
        By task: positions in the test compounds and true labels.
    nearest
        Shape (n,): the partner whose compounds are nearest to each test compound.
    models
        All models.
    """

    name: str
    partition: str
    seed: int
    sizes: dict[str, int]
    tests: np.ndarray
    labels: dict[str, tuple[np.ndarray, np.ndarray]]
    nearest: np.ndarray
    models: list[ModelResult]

    @property
    def test_names(self) -> list[str]:
        """Names of the tests, in the order of the test compounds."""
        return list(dict.fromkeys(str(name) for name in self.tests))

    def of_kind(self, kind: str) -> list[ModelResult]:
        """Models of a kind, in the order of their names."""
        return [model for model in self.models if model.kind == kind]

    def in_test(self, task: str, test: str) -> tuple[np.ndarray, np.ndarray]:
        """The compounds of a test that have a label: their positions and true labels."""
        rows, truth = self.labels[task]
        chosen = self.tests[rows] == test
        return rows[chosen], truth[chosen]

    def near_partner(self, task: str, partner: str) -> tuple[np.ndarray, np.ndarray]:
        """The labelled test compounds nearest to a partner: their positions and true labels."""
        rows, truth = self.labels[task]
        chosen = self.nearest[rows] == partner
        return rows[chosen], truth[chosen]
