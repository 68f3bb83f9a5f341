"""Learners by name. A new one is a class with `fit`, `score`, `to_state`, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fluid.base.errors import FileFormatError
from fluid.learn.estimators.average import Average
from fluid.learn.estimators.base import Estimator, Learner, Shared, State, logit, sigmoid
from fluid.learn.estimators.kernel import KernelRidge, KernelSVM
from fluid.learn.estimators.linear import Linear
from fluid.learn.estimators.mixture import Mixture
from fluid.learn.estimators.multitask.head import Head
from fluid.learn.estimators.multitask.network import Network
from fluid.learn.estimators.trees import boosted_trees, random_forest

# Above this many compounds a support vector machine costs more than it gains. Below, its labels
# make better students than those of trees.
KERNEL_LIMIT = 8000


def _average() -> Learner:
    learners: dict[str, Learner] = {
        "lightgbm": boosted_trees(),
        "random-forest": random_forest(),
        "svm": KernelSVM(),
    }
    return Average("average", learners)


# What a partner may choose for its teacher; the keys are the command's choices.
LEARNERS: dict[str, Callable[[], Learner]] = {
    "lightgbm": boosted_trees,
    "svm": KernelSVM,
    "random-forest": random_forest,
    "logistic": Linear,
    "average": _average,
    Head.kind: Head,
}
AUTO = "auto"
# Learners that leave out compounds of which only a bound is known.
DROPS_CENSORED = frozenset({"random-forest"})

_REVIVE: dict[str, Callable[[State], Estimator]] = {
    "lightgbm": lambda state: boosted_trees().restore(state),
    "random-forest": lambda state: random_forest().restore(state),
    "svm": KernelSVM.from_state,
    "kernel-ridge": KernelRidge.from_state,
    "logistic": Linear.from_state,
    "average": lambda state: Average.restore(state, revive),
    Head.kind: Head.from_state,
    "mixture": lambda state: Mixture.restore(state, revive),
}


def choose_learner(name: str, n_training: int) -> str:
    """Resolve ``"auto"``: SVM up to 8,000 training compounds, LightGBM above.

    Parameters
    ----------
    name
        Key of `LEARNERS`, or ``"auto"``.
    n_training
        Training compounds at hand. In cross-fitting these are the compounds of the *other* folds,
        so that the choice cannot depend on the compound to be labelled.
    """
    if name != AUTO:
        return name
    return "svm" if n_training <= KERNEL_LIMIT else "lightgbm"


def revive(state: State) -> Estimator:
    """Rebuild a fitted estimator from its state.

    Raises
    ------
    FileFormatError
        If the state is of a kind that this version does not know, or lacks something.
    """
    return _revived(_REVIVE, state)


def revive_shared(state: State) -> Shared:
    """Rebuild what several estimators share; see `revive`."""
    return _revived({Network.kind: Network.from_state}, state)


Made = TypeVar("Made")


def _revived(known: dict[str, Callable[[State], Made]], state: State) -> Made:
    if state.kind not in known:
        raise FileFormatError(f"unknown kind of estimator '{state.kind}'")
    try:
        return known[state.kind](state)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"estimator '{state.kind}' is incomplete ({error})") from error


__all__ = [
    "AUTO",
    "DROPS_CENSORED",
    "Estimator",
    "KernelRidge",
    "KernelSVM",
    "LEARNERS",
    "Learner",
    "Mixture",
    "State",
    "logit",
    "choose_learner",
    "revive",
    "revive_shared",
    "sigmoid",
]
