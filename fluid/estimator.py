"""Models as scikit-learn estimators: what `fluid.load` returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from fluid.base.errors import FluidError
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.model import Card, check_domain
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.report.predict import predict_frame

if TYPE_CHECKING:
    import pandas as pd


class Model(BaseEstimator):  # type: ignore[misc]
    """A teacher, student or hybrid as a scikit-learn estimator that is trained already.

    It predicts structures: a list of SMILES or RDKit molecules, or a DataFrame with a SMILES
    column. It can be the last step of a `Pipeline`, and `sklearn.base.clone` makes one that reads
    the same folder again.

    Parameters
    ----------
    folder
        A model's folder.
    domain
        Applicability domain: ``"reliability"``, ``"neighbours"`` or ``"dictionary"``.

    Attributes
    ----------
    model_
        The model in memory.

    Examples
    --------
    >>> student = Model("round1/student").fit()
    >>> student.task_names
    ['bbb', 'logbb']
    >>> student.predict_proba(["CCO"], task="bbb").shape
    (1, 2)
    """

    def __init__(self, folder: Path | str, domain: str = DEFAULT_DOMAIN) -> None:
        self.folder = folder
        self.domain = domain

    def fit(self, X: Any = None, y: Any = None) -> Model:
        """Read the folder; nothing is learned from `X` and `y`, as the model is trained.

        Raises
        ------
        FluidError
            If the folder holds no model, or something in it was changed.
        """
        check_domain(self.domain)
        folder = Path(self.folder)
        self.model_ = load_model(folder)
        self.model_.chemistry.check(str(folder))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @property
    def tasks(self) -> list[Task]:
        """The tasks that it predicts."""
        return list(self._fitted().tasks)

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks that it predicts."""
        return [task.name for task in self.tasks]

    @property
    def card(self) -> Card:
        """What the model is: kind, federation, training, metrics, versions."""
        return self._fitted().card

    def predict(self, X: Sequence[Any] | pd.DataFrame) -> pd.DataFrame:
        """Predict every task, with uncertainty, reliability and applicability domain.

        Parameters
        ----------
        X
            n SMILES, n RDKit molecules, or a table of n rows with a SMILES column.

        Returns
        -------
        pandas.DataFrame
            One row per input, in the order of the input. A structure that cannot be used has its
            reason in the column ``problem`` and missing values elsewhere.
        """
        return predict_frame(self._fitted(), X, domain=self.domain)

    def predict_proba(self, X: Sequence[Any] | pd.DataFrame, task: str | None = None) -> np.ndarray:
        """Class probabilities of one classification task.

        Parameters
        ----------
        X
            See `predict`.
        task
            Which task; needed if the model predicts several classification tasks.

        Returns
        -------
        numpy.ndarray
            float64 of shape (n, n_classes); columns in the order of the task's classes. NaN where
            a structure cannot be used.

        Raises
        ------
        FluidError
            If the model has no such classification task, or the task is not clear.
        """
        chosen = self._classification(task)
        values = self.predict(X)[list(chosen.outputs)].to_numpy(dtype=np.float64)
        return (
            np.column_stack([1.0 - values[:, 0], values[:, 0]])
            if chosen.kind == "binary"
            else values
        )

    def _classification(self, name: str | None) -> Task:
        offered = [task for task in self.tasks if task.is_classification]
        chosen = [task for task in offered if name in (None, task.name)]
        if len(chosen) != 1:
            names = ", ".join(task.name for task in offered) or "none"
            raise FluidError(
                f"{self.folder}: task {name!r} for class probabilities; allowed are: {names}"
            )
        return chosen[0]

    def _fitted(self) -> Any:
        if not hasattr(self, "model_"):
            self.fit()
        return self.model_


def load(folder: Path | str, domain: str = DEFAULT_DOMAIN) -> Model:
    """Read a teacher, student or hybrid.

    Parameters
    ----------
    folder
        A model's folder.
    domain
        Applicability domain to judge predictions by; see `Model`.

    Raises
    ------
    FluidError
        If the folder holds no model, or something in it was changed.

    Examples
    --------
    >>> student = load("round1/student")
    >>> table = student.predict(["CCO", "not a structure"])
    >>> table[["smiles", "bbb.in_domain", "problem"]].shape
    (2, 3)
    """
    return Model(folder, domain).fit()
