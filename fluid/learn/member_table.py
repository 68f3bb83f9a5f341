"""Members of a model that are kernel machines, as a few long arrays instead of many short ones.

A teacher of six hundred tasks has nine thousand of them. Rows that several machines keep, and
scalings that those of a fold share, are stored once. Arrays of a kind of machine, named
``0.<kind>.<name>`` (no task's name begins with a digit):

    places        int64 (m, 2): repeat and fold of each member
    reliability   float64 (m, 2): slope and ceiling
    machines      float64 (e, 3): slope and intercept of calibration, the machine's intercept
    uses          int64 (e, 2): which set of rows, and which scaling
    set_ends      int64 (s,): where each set of rows ends
    rows          int64: all sets end to end
    weights       float64: of all machines end to end, each as long as its set
    means, scales float64 (k, n_descriptors)

Outputs of networks (``0.multitask.<name>``) have instead of machines and what they use

    machines      float64 (e, 2): slope and intercept of the calibration
    uses          int64 (e, 4): which network, first column, number of columns, position among them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.estimators import KernelRidge, KernelSVM, State
from fluid.learn.estimators.base import Shared, number_shared
from fluid.learn.estimators.multitask.head import Head

KINDS = (KernelSVM.kind, KernelRidge.kind, Head.kind)
_ARRAYS = {"rows", "weights", "mean", "scale"}


def table_kind(members: Sequence[FoldModel]) -> str:
    """Kind of the table that members fit into; empty if they fit into none."""
    if not members:
        return ""
    states = [one.to_state() for member in members for one in member.estimators]
    kinds = {state.kind for state in states}
    if kinds == {Head.kind}:
        return Head.kind
    plain = all(
        set(state.params) == {"intercept"} and set(state.arrays) == _ARRAYS and not state.parts
        for state in states
    )
    (kind,) = kinds if len(kinds) == 1 else ("",)
    return kind if kind in KINDS and plain else ""


class TableWriter:
    """Collects the members of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._places: list[tuple[int, int]] = []
        self._reliability: list[tuple[float, float]] = []
        self._machines: list[tuple[float, ...]] = []
        self._uses: list[tuple[int, ...]] = []
        self._sets: dict[bytes, np.ndarray] = {}
        self._scalings: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        self._set_numbers: dict[bytes, int] = {}
        self._scaling_numbers: dict[bytes, int] = {}
        self._weights: list[np.ndarray] = []

    def add(self, members: Sequence[FoldModel]) -> None:
        """Add the members of a task."""
        for member in members:
            self._places.append((member.repeat, member.fold))
            self._reliability.append((member.reliability.slope, member.reliability.ceiling))
            for estimator, platt in zip(member.estimators, member.calibrations, strict=True):
                self._add(estimator.to_state(), platt)

    def _add(self, state: State, platt: Platt) -> None:
        rows, mean = state.arrays["rows"], state.arrays["mean"]
        both = mean.tobytes() + state.arrays["scale"].tobytes()
        key = rows.tobytes()
        self._sets.setdefault(key, rows)
        self._scalings.setdefault(both, (mean, state.arrays["scale"]))
        self._uses.append(
            (
                self._set_numbers.setdefault(key, len(self._set_numbers)),
                self._scaling_numbers.setdefault(both, len(self._scaling_numbers)),
            )
        )
        self._machines.append((platt.slope, platt.intercept, state.number("intercept")))
        self._weights.append(state.arrays["weights"])

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        sets = list(self._sets.values())
        found = {
            "places": np.array(self._places, dtype=np.int64),
            "reliability": np.array(self._reliability, dtype=np.float64),
            "machines": np.array(self._machines, dtype=np.float64),
            "uses": np.array(self._uses, dtype=np.int64),
            "set_ends": np.cumsum([len(rows) for rows in sets], dtype=np.int64),
            "rows": np.concatenate(sets),
            "weights": np.concatenate(self._weights),
            "means": np.stack([mean for mean, _ in self._scalings.values()]),
            "scales": np.stack([scale for _, scale in self._scalings.values()]),
        }
        return {f"0.{self.kind}.{name}": array for name, array in found.items()}


class HeadTableWriter(TableWriter):
    """Collects members that are outputs of networks.

    Parameters
    ----------
    shared
        Networks by their identity, in the order in which they are stored; those found here join
        them.
    """

    def __init__(self, shared: dict[int, Shared]) -> None:
        super().__init__(Head.kind)
        self._shared = shared

    def _add(self, state: State, platt: Platt) -> None:
        params = state.params
        where = (params["first"], params["classes"], params["position"])
        self._uses.append((number_shared(state, self._shared), *where))
        self._machines.append((platt.slope, platt.intercept))

    def arrays(self) -> dict[str, np.ndarray]:
        """See `TableWriter.arrays`."""
        found = {
            "places": np.array(self._places, dtype=np.int64),
            "reliability": np.array(self._reliability, dtype=np.float64),
            "machines": np.array(self._machines, dtype=np.float64),
            "uses": np.array(self._uses, dtype=np.int64),
        }
        return {f"0.{self.kind}.{name}": array for name, array in found.items()}


def _taking(kind: str, left: dict[str, np.ndarray]) -> Callable[..., np.ndarray]:
    """What takes an array of a table out of those left, or refuses it."""

    def take(name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> np.ndarray:
        found = left.pop(f"0.{kind}.{name}", None)
        fits = (
            found is not None
            and found.dtype == dtype
            and found.ndim == len(shape)
            and all(
                wanted is None or side == wanted
                for side, wanted in zip(found.shape, shape, strict=True)
            )
        )
        if found is None or not fits:
            raise ValueError(f"the table of members '{kind}' has no fitting '{name}'")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"'{name}' of members '{kind}' holds a number that is not finite")
        return found

    return take


class TableReader:
    """Gives the members back, task by task, and checks that all are taken.

    Parameters
    ----------
    kind
        One of `KINDS`.
    left
        Arrays of the file; those of the table are taken out.

    Raises
    ------
    ValueError
        If an array is missing, or they do not fit one another.
    """

    def __init__(self, kind: str, left: dict[str, np.ndarray]) -> None:
        self.kind = kind

        take = _taking(kind, left)
        self._places = take("places", np.int64, (None, 2))
        self._reliability = take("reliability", np.float64, (len(self._places), 2))
        self._machines = take("machines", np.float64, (None, 3))
        self._uses = take("uses", np.int64, (len(self._machines), 2))
        ends = take("set_ends", np.int64, (None,))
        rows = take("rows", np.int64, (None,))
        self._weights = take("weights", np.float64, (None,))
        self._means = take("means", np.float64, (None, None))
        self._scales = take("scales", np.float64, self._means.shape)
        starts = np.concatenate([[0], ends])
        if np.any(np.diff(starts) < 0) or starts[-1] != len(rows):
            raise ValueError(f"sets of rows of members '{kind}' do not fill their array")
        limits = np.array([len(ends), len(self._means)])
        if np.any(self._uses < 0) or np.any(self._uses >= limits):
            raise ValueError(f"a member '{kind}' uses rows or a scaling that there is not")
        self._sets = [rows[start:end] for start, end in zip(starts, ends, strict=False)]
        self._weight_ends = np.cumsum(np.diff(starts)[self._uses[:, 0]])
        if len(self._weights) != (self._weight_ends[-1] if len(self._weight_ends) else 0):
            raise ValueError(f"weights of members '{kind}' do not fill their array")
        self._next_member = self._next_machine = 0

    def take(self, count: int, n_outputs: int) -> list[dict[str, Any]]:
        """The next members as the values that a model file states of one by itself."""
        if count < 1 or self._next_member + count > len(self._places):
            raise ValueError(f"there are no {count} more members '{self.kind}'")
        found = []
        for number in range(self._next_member, self._next_member + count):
            repeat, fold = self._places[number].tolist()
            machines = range(self._next_machine, self._next_machine + n_outputs)
            if machines.stop > len(self._machines):
                raise ValueError(f"a member '{self.kind}' lacks a machine")
            self._next_machine = machines.stop
            found.append(
                {
                    "repeat": repeat,
                    "fold": fold,
                    "reliability": self._reliability[number].tolist(),
                    "calibrations": self._machines[machines.start : machines.stop, :2].tolist(),
                    "estimators": [self._state(machine) for machine in machines],
                }
            )
        self._next_member += count
        return found

    def _state(self, number: int) -> State:
        which, scaling = self._uses[number]
        end = self._weight_ends[number]
        rows = self._sets[which]
        arrays = {
            "rows": rows,
            "weights": self._weights[end - len(rows) : end],
            "mean": self._means[scaling],
            "scale": self._scales[scaling],
        }
        return State(self.kind, {"intercept": float(self._machines[number, 2])}, arrays)

    def is_used(self) -> bool:
        """Whether all members have been taken."""
        return (self._next_member, self._next_machine) == (len(self._places), len(self._machines))


class HeadTableReader(TableReader):
    """Gives members that are outputs of networks back.

    Parameters
    ----------
    left
        See `TableReader`.
    share
        A network by its place; raises ValueError if there is none.
    """

    def __init__(self, left: dict[str, np.ndarray], share: Callable[[int], Shared]) -> None:
        self.kind = Head.kind
        take = _taking(self.kind, left)
        self._share = share
        self._places = take("places", np.int64, (None, 2))
        self._reliability = take("reliability", np.float64, (len(self._places), 2))
        self._machines = take("machines", np.float64, (None, 2))
        self._uses = take("uses", np.int64, (len(self._machines), 4))
        self._next_member = self._next_machine = 0

    def _state(self, number: int) -> State:
        place, first, classes, position = self._uses[number].tolist()
        params = {"first": first, "classes": classes, "position": position}
        return State(self.kind, params, shared=self._share(place))
