"""Partners that lie about their labels or their reliability: what it costs, and who is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fluid.central.consensus import Verdicts, compare
from fluid.central.pooling import pool_labels
from fluid.chem.similarity import tanimoto
from fluid.learn.metrics import higher_is_better, metric_names
from fluid.learn.task import Task
from fluid.simulation.cell_result import CellResult
from fluid.simulation.rounds import SimulatedRound
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels

Labels = Mapping[str, TeacherLabels]

# Public compounds of the students, so that a consortium takes minutes.
_PUBLIC = 2000
_HIGH = 0.98
# Of the public compounds, in a lie about one series.
_SERIES = 0.05
# Liars tried for each kind of lie; the largest partners first.
_LIARS = 8


@dataclass(frozen=True)
class Lie:
    """What a liar can use: its own labels, and those of the most reliable other partner."""

    task: Task
    own: TeacherLabels
    other: TeacherLabels
    fingerprints: np.ndarray
    random: np.random.Generator

    @property
    def values(self) -> np.ndarray:
        """Its own predictions, the mean where there is none."""
        values = self.own.prediction.astype(np.float64)
        return np.where(np.isnan(values), np.nanmean(values, axis=0), values)

    @property
    def trust(self) -> np.ndarray:
        """Its own reliability."""
        return np.nan_to_num(self.own.reliability)

    def say(self, values: np.ndarray, trust: np.ndarray | float) -> TeacherLabels:
        """Labels within the policy."""
        each = np.broadcast_to(np.asarray(trust, dtype=np.float32), len(values)).copy()
        values = values.astype(np.float32)
        return TeacherLabels(values, np.zeros_like(values), each)

    def turned(self) -> np.ndarray:
        """Labels turned round, as sure as the policy allows."""
        values = self.values
        if self.task.kind == "regression":
            mirrored = values.mean(axis=0) - 2.5 * (values - values.mean(axis=0))
            return np.clip(mirrored, *self.task.bounds)
        if self.task.kind == "multiclass":
            return _sure(values.argmin(axis=1), values.shape[1])
        return np.where(values > np.median(values), 0.01, 0.99)

    def constant(self) -> np.ndarray:
        """The same extreme label for every compound."""
        values = self.values
        if self.task.kind == "regression":
            return np.broadcast_to(values.mean(axis=0) + 3.0 * values.std(axis=0), values.shape)
        if self.task.kind == "multiclass":
            return _sure(np.zeros(len(values), dtype=np.int64), values.shape[1])
        return np.full_like(values, 0.99)

    def noise(self) -> np.ndarray:
        """Labels drawn at random."""
        values = self.values
        if self.task.kind == "regression":
            drawn = self.random.normal(size=values.shape)
            return np.clip(values.mean() + 2.5 * values.std() * drawn, *self.task.bounds)
        if self.task.kind == "multiclass":
            return _sure(self.random.integers(values.shape[1], size=len(values)), values.shape[1])
        return self.random.uniform(0.01, 0.99, values.shape)

    def targeted(self) -> TeacherLabels:
        """Honest, but for the neighbours of one compound that is known somewhere."""
        known = np.maximum(self.trust, np.nan_to_num(self.other.reliability)) + 1e-9
        centre = self.random.choice(len(known), p=known / known.sum())
        similarity = tanimoto(self.fingerprints, self.fingerprints[centre : centre + 1])[:, 0]
        series = np.argsort(-similarity, kind="stable")[: int(_SERIES * len(known))]
        values, trust = self.values, self.trust.copy()
        values[series], trust[series] = self.turned()[series], _HIGH
        return self.say(values, trust)


def _sure(classes: np.ndarray, number: int) -> np.ndarray:
    found = np.full((len(classes), number), 0.01)
    found[np.arange(len(classes)), classes] = 1.0 - 0.01 * (number - 1)
    return found


_OTHERS_VALUES = "another's labels and reliability"
LIES: dict[str, Callable[[Lie], TeacherLabels]] = {
    "labels turned round, reliability .98": lambda lie: lie.say(lie.turned(), _HIGH),
    "labels turned round": lambda lie: lie.say(lie.turned(), lie.trust),
    "labels shuffled, reliability .98": lambda lie: lie.say(
        lie.random.permutation(lie.values), _HIGH
    ),
    "labels shuffled": lambda lie: lie.say(lie.random.permutation(lie.values), lie.trust),
    "labels constant, reliability .98": lambda lie: lie.say(lie.constant(), _HIGH),
    "labels constant": lambda lie: lie.say(lie.constant(), lie.trust),
    "labels of noise, reliability .98": lambda lie: lie.say(lie.noise(), _HIGH),
    "labels of noise": lambda lie: lie.say(lie.noise(), lie.trust),
    "reliability .98": lambda lie: lie.say(lie.values, _HIGH),
    "reliability 1": lambda lie: lie.say(lie.values, 1.0),
    "reliability of another": lambda lie: lie.say(lie.values, np.nan_to_num(lie.other.reliability)),
    _OTHERS_VALUES: lambda lie: lie.say(
        replace(lie, own=lie.other).values, np.nan_to_num(lie.other.reliability)
    ),
    "one series turned round, reliability .98 there": lambda lie: lie.targeted(),
}
COLLUDING = "two say the same, turned round, reliability .98"
HONEST = "nobody lies"


@dataclass(frozen=True)
class Outcome:
    """What came of a lie in one consortium, task and kind of lie.

    Attributes
    ----------
    cost
        What it costs the student on the test, against leaving the liars out: ROC-AUC lost, or the
        increase of RMSE as a share. Without liars: against pooling whatever is stated. NaN if it
        cannot be measured.
    caught
        Share of the liars that a finding names; NaN without liars.
    accused
        Share of the honest partners that are flagged. The one whose labels were repeated does not
        count.
    """

    task: str
    lie: str
    cost: float
    caught: float
    accused: float


class Adversaries:
    """Lies in one consortium.

    Parameters
    ----------
    labelled
        Its first round. Students learn from 2,000 of its public compounds.
    cell
        Measured labels of the test compounds.
    seed
        Of everything drawn.
    """

    def __init__(self, labelled: SimulatedRound, cell: CellResult, seed: int) -> None:
        total = len(labelled.consortium.public)
        rows = np.random.default_rng(seed).permutation(total)[:_PUBLIC]
        self._round = labelled.of_public(np.sort(rows))
        self._cell, self._seed = cell, seed

    def outcomes(self) -> Iterator[Outcome]:
        """Of every task and lie."""
        for task in self._round.consortium.tasks:
            labels = {
                name: by[task.name]
                for name, by in sorted(self._round.labels.items())
                if task.name in by and np.isfinite(by[task.name].reliability).any()
            }
            if len(labels) >= 3:
                yield from self._of_task(task, labels)

    def _of_task(self, task: Task, labels: Labels) -> Iterator[Outcome]:
        fingerprints = self._round.consortium.public.fingerprints
        verdicts = compare(task, labels, fingerprints)
        today, now = self._metric(task, labels, False), self._metric(task, labels, True)
        yield Outcome(task.name, HONEST, _cost(task, today, now), *_named(verdicts, [], None))
        sizes = {
            name: len(table.compounds) for name, table in self._round.consortium.tables.items()
        }
        liars = sorted(labels, key=lambda name: (-sizes[name], name))[:_LIARS]
        random = np.random.default_rng(self._seed)
        alone = self._metric(task, _without(labels, liars[:1]), False)
        for kind, tell in LIES.items():
            found = []
            for number, liar in enumerate(liars):
                others = _without(labels, [liar])
                best = max(others, key=lambda name: float(np.nansum(others[name].reliability)))
                lie = Lie(task, labels[liar], labels[best], fingerprints, random)
                told = {**labels, liar: tell(lie)}
                named = _named(compare(task, told, fingerprints), [liar], best)
                cost = float("nan")
                if number == 0:
                    cost = _cost(task, alone, self._metric(task, told, True))
                found.append(Outcome(task.name, kind, cost, *named))
            yield _mean(found)
        if len(labels) >= 4:
            yield self._colluding(task, labels, liars, fingerprints)

    def _colluding(
        self, task: Task, labels: Labels, liars: list[str], fingerprints: np.ndarray
    ) -> Outcome:
        """The largest partner with each of the others; the cost is that of the first pair."""
        random = np.random.default_rng(self._seed)
        found = []
        for second in liars[1:]:
            pair = [liars[0], second]
            lie = Lie(task, labels[liars[0]], labels[second], fingerprints, random)
            told = {**labels, **dict.fromkeys(pair, lie.say(lie.turned(), _HIGH))}
            named = _named(compare(task, told, fingerprints), pair, None)
            cost = float("nan")
            if second == liars[1]:
                alone = self._metric(task, _without(labels, pair), False)
                cost = _cost(task, alone, self._metric(task, told, True))
            found.append(Outcome(task.name, COLLUDING, cost, *named))
        return _mean(found)

    def _metric(self, task: Task, labels: Labels, judged: bool) -> float:
        """The leading metric of a student of these labels, pooled as stated or as judged."""
        consortium = self._round.consortium
        here = replace(consortium, federation=replace(consortium.federation, tasks=(task,)))
        given = {name: {task.name: one} for name, one in labels.items()}
        if judged:
            found = SimulatedRound.pool(here, given)
        else:
            pooled = pool_labels([task], given, here.connectivity_digests)
            found = SimulatedRound(here, given, PooledSet.of(here.public, pooled), {})
        rows, truth = self._cell.labels[task.name]
        predictions = found.student_predictions()[task.name]
        return predictions.labelled(rows, truth).leading_metric(task)


def _without(labels: Labels, left_out: list[str]) -> dict[str, TeacherLabels]:
    return {name: one for name, one in labels.items() if name not in left_out}


def _cost(task: Task, before: float, after: float) -> float:
    if higher_is_better(metric_names(task)[0]):
        return before - after
    return after / before - 1.0


def _named(verdicts: Verdicts, liars: list[str], victim: str | None) -> tuple[float, float]:
    """Shares of liars and of honest partners that are named; see `Outcome`."""
    flagged = {name for name, one in verdicts.partners.items() if one.flagged}
    pairs = {name for pair in (*verdicts.copies, *verdicts.opposed) for name in pair}
    honest = [name for name in verdicts.partners if name not in liars and name != victim]
    caught = [name in flagged | pairs for name in liars]
    accused = [name in flagged for name in honest]
    return (
        float(np.mean(caught)) if caught else float("nan"),
        float(np.mean(accused)) if accused else float("nan"),
    )


def _mean(found: list[Outcome]) -> Outcome:
    def mean(values: list[float]) -> float:
        known = [one for one in values if np.isfinite(one)]
        return float(np.mean(known)) if known else float("nan")

    return Outcome(
        found[0].task,
        found[0].lie,
        mean([one.cost for one in found]),
        mean([one.caught for one in found]),
        mean([one.accused for one in found]),
    )
