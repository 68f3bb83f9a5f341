"""One output of a multi-task network, as an estimator among others."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import logsumexp

from fluid.base.values import convert_value
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import State
from fluid.learn.estimators.multitask.network import Network
from fluid.learn.estimators.multitask.training import fit_network
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task


class Head:
    """One output of a network: a class against the rest, or a number; a `Learner`.

    Parameters
    ----------
    network
        Shared by the heads of all tasks; None until `fit`, which trains one for a task alone.
    first, classes
        First column of the task, and how many it has: one, or one for each of several classes.
    position
        Which of these columns is the output.
    """

    kind = "multitask"

    def __init__(
        self,
        network: Network | None = None,
        first: int = 0,
        classes: int = 1,
        position: int = 0,
    ) -> None:
        self._network = network
        self.first, self.classes, self.position = first, classes, position

    @property
    def network(self) -> Network:
        """The network; it must have been fitted."""
        assert self._network is not None
        return self._network

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
        signs: np.ndarray | None = None,
    ) -> Self:
        """See `Learner.fit`: a network of one task."""
        task = Task("alone", "binary" if classification else "regression")
        n = len(rows)
        labels = LabelMatrix(
            rows=np.arange(n),
            tasks=np.zeros(n, dtype=np.int64),
            values=target,
            qualifiers=np.zeros(n, dtype=np.int8) if signs is None else signs,
            weights=np.ones(n),
            shape=(n, 1),
        )
        self._network = fit_network(library.take(rows), labels, [task], seed)
        self.first, self.classes, self.position = 0, 1, 0
        return self

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        return self.output(self.network.scores(queries))

    def output(self, scores: np.ndarray) -> np.ndarray:
        """Its own output of all of the network's scores (n, n_columns); shape (n,)."""
        return against_rest(scores[:, self.first : self.first + self.classes], self.position)

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`; a network checks itself."""
        n_columns = len(self.network.heads_bias_)
        if not 0 <= self.first < self.first + self.classes <= n_columns:
            raise ValueError(f"a head has columns that its network of {n_columns} has not")
        if not 0 <= self.position < self.classes:
            raise ValueError("the output of a head is not among its columns")

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        params = {"first": self.first, "classes": self.classes, "position": self.position}
        return State(self.kind, params, shared=self.network)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `to_state`."""
        names = ["first", "classes", "position"]
        state.has_only(names)
        if not isinstance(state.shared, Network):
            raise ValueError("the network is missing")
        return cls(state.shared, *(convert_value(state.params[key], int, key) for key in names))


def against_rest(logits: np.ndarray, position: int) -> np.ndarray:
    """Log-odds of one of several classes; the only column as it is.

    Examples
    --------
    >>> logits = np.log([[0.2, 0.3, 0.5]])
    >>> round(float(np.exp(against_rest(logits, 2)[0])), 6)
    1.0
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    others = np.delete(logits, position, axis=1)
    return logits[:, position] - np.asarray(logsumexp(others, axis=1))
