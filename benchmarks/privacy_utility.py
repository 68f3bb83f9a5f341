"""Student quality against epsilon for each noise mechanism, as a Markdown table.

``make study-privacy-utility`` runs it on the folder of ``make demo``. Random compounds are taken
from all partners first (the validation split); settings may be chosen on these, the external
compounds are looked at once. Neither test has compounds in the private data or in the public set.
Intervals are of a bootstrap over compounds, and over draws of the noise where there is noise.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import count_jobs
from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.pooling import pool_labels
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.mechanism import GAUSSIAN, LABEL_ONLY, MEASUREMENT, PATE, Mechanism
from fluid.exchange.public_set import open_public_set
from fluid.learn.metrics import bootstrap_rows, interval, roc_auc
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.dp.budget import Plan, plan_release
from fluid.partner.dp.pate import fit_sub_teachers
from fluid.partner.dp.pate_labeler import OwnFold, PateLabeler, Source, Votes, voted
from fluid.partner.guard import disclose
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.simulate.holdout import hold_out
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels

TASK = "bbb"
SHARE = 0.12
DRAWS = 500


@dataclass(frozen=True)
class Test:
    """Measured compounds that nobody has."""

    compounds: Compounds
    truth: np.ndarray


@dataclass(frozen=True)
class Partner:
    """A partner's teacher, what it says of the public set, and its table."""

    name: str
    table: LabelledCompounds
    model: TrainedModel
    secret: bytes
    labels: dict[str, OwnFoldLabels]


class Remembered:
    """What a teacher said of the public set, to be asked again without computing it again."""

    def __init__(self, partner: Partner, public: Compounds) -> None:
        self.labels = partner.labels
        self.row = {key: row for row, key in enumerate(public.inchikeys)}

    def label(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, OwnFoldLabels]:
        """See `fluid.partner.dp.pate_labeler.Labeller`."""
        rows = [self.row[key] for key in compounds.inchikeys]
        return {
            name: OwnFoldLabels(
                one.prediction[rows], one.uncertainty[rows], one.reliability[rows],
                one.similarity[rows],
            )
            for name, one in self.labels.items()
        }  # fmt: skip


def without_partner(table: LabelledCompounds, keys: set[str]) -> LabelledCompounds:
    """A table without these connectivities."""
    kept = [row for row, key in enumerate(table.compounds.connectivities) if key not in keys]
    return table.take(np.array(kept, dtype=np.int64))


def measured(table: LabelledCompounds, federation: Federation, rows: np.ndarray) -> Test:
    """The labelled ones of some compounds."""
    found, values = table.labels.column(federation.task_index(TASK))
    kept = np.isin(found, rows)
    return Test(table.compounds.take(found[kept]), values[kept])


class Study:
    """Partners, public set and tests of the demonstration."""

    def __init__(self, demo: Path, external: Path, tables: Sequence[Path], jobs: int) -> None:
        federation = load_federation(demo / "federation.toml")
        # Numbers are no part of the question, and would take half of a compound's budget.
        self.federation = replace(federation, tasks=federation.tasks[:1])
        self.jobs = jobs
        self._votes: dict[str, dict[str, np.ndarray]] = {}
        chemistry = federation.chemistry

        def read(paths: Sequence[Path]) -> LabelledCompounds:
            return read_labelled(paths, self.federation.tasks, chemistry)

        everything = read(tables)
        outside = read([external])
        held = hold_out(everything.compounds, 0.0, SHARE, seed=1)
        self.tests = {
            "validation": measured(everything, self.federation, held.random),
            "external": measured(outside, self.federation, np.arange(len(outside.compounds))),
        }
        keys = {key for test in self.tests.values() for key in test.compounds.connectivities}
        chunks = list(open_public_set(demo / "public.parquet").chunks())
        assert len(chunks) == 1
        kept = [row for row, key in enumerate(chunks[0].connectivities) if key not in keys]
        self.public = chunks[0].take(np.array(kept)).with_cache()
        self.partners = [
            self.train(path.stem, without_partner(read([path]), keys)) for path in tables
        ]

    def train(self, name: str, table: LabelledCompounds) -> Partner:
        """A partner's teacher, and its labels by the models of each compound's own fold."""
        secret = name.encode().ljust(32, b".")
        fitted = fit_model(
            table, self.federation, "teacher", name, name, TrainingOptions(), secret, self.jobs
        )
        labels = TeacherLabeler(fitted.model, secret).label(self.federation, self.public, self.jobs)
        return Partner(name, table, fitted.model, secret, labels)

    def student(self, federation: Federation, said: dict[str, dict[str, TeacherLabels]]) -> list[
        np.ndarray
    ]:  # fmt: skip
        """Probabilities that the student of some annotations gives the tests' compounds."""
        pooled = pool_labels(federation.tasks, said, {}, digest_connectivities(self.public))
        try:
            model, _ = train_student(
                federation.tasks,
                PooledSet.of(self.public, pooled),
                federation,
                run=Run(jobs=self.jobs),
            )
        except TrainingError:
            return [np.full(len(test.truth), 0.5) for test in self.tests.values()]
        return [
            model.predict(test.compounds, None).by_task[TASK].values[:, 0]
            for test in self.tests.values()
        ]

    def unprotected(self) -> list[np.ndarray]:
        """The student of ordinary annotations."""
        said = {
            partner.name: {
                task.name: disclose(task, self.federation.policy, partner.labels[task.name])
                for task in self.federation.tasks
            }
            for partner in self.partners
        }
        return self.student(self.federation, said)

    def noisy(self, mechanism: Mechanism, draws: int) -> Iterator[tuple[Plan, list[np.ndarray]]]:
        """Students of annotations through a mechanism, one for each draw of the noise."""
        federation = replace(self.federation, mechanism=mechanism)
        sources = {partner.name: self.source(partner, federation) for partner in self.partners}
        plan = plan_release(mechanism, federation.tasks, len(self.public))
        for draw in range(draws):
            said = {}
            for name, source in sources.items():
                labeler = PateLabeler(
                    federation, source, list(self.public.inchikeys), f"{name} {draw}", plan
                )
                said[name] = labeler.annotate(federation, self.public, self.jobs)
            yield plan, self.student(federation, said)

    def unnoised(self) -> list[np.ndarray]:
        """The student of all votes of all sub-teachers, without noise: what dividing costs."""
        federation = replace(self.federation, mechanism=VOTES)
        said = {}
        for partner in self.partners:
            raw = self.votes(partner, VOTES)[TASK]
            # As many votes as there are, no matter how few: a share of the votes.
            voting = np.isfinite(raw).sum(axis=1)
            share = np.where(
                voting > 0,
                (raw >= 0.5).sum(axis=1) / np.maximum(voting, 1),
                0.5,
            )
            constant = np.full(len(share), VOTES.reliability)
            found = OwnFoldLabels(share, np.full(share.shape, np.nan), constant, constant)
            task = federation.tasks[0]
            said[partner.name] = {TASK: disclose(task, federation.policy, found)}
        return self.student(federation, said)

    def source(self, partner: Partner, federation: Federation) -> Source:
        """What noise is drawn around."""
        mechanism = federation.mechanism
        if mechanism.kind != PATE:
            return OwnFold(federation, Remembered(partner, self.public))
        return Voted(self.votes(partner, mechanism), mechanism, self.public)

    def votes(self, partner: Partner, mechanism: Mechanism) -> dict[str, np.ndarray]:
        """What each sub-teacher says of the public set."""
        if partner.name not in self._votes:
            model = fit_sub_teachers(
                partner.table, self.federation.tasks, partner.model, partner.secret,
                mechanism.sub_teachers, "auto", 0, self.jobs,
            )  # fmt: skip
            votes = Votes(model, partner.secret, mechanism)
            self._votes[partner.name] = dict(votes.prepare(self.public, self.jobs))
        return self._votes[partner.name]


class Voted:
    """Votes on the public set, computed once."""

    def __init__(self, raw: dict[str, np.ndarray], mechanism: Mechanism, public: Compounds) -> None:
        self.raw = raw
        self.mechanism = mechanism
        self.row = {key: row for row, key in enumerate(public.inchikeys)}

    def prepare(self, queries: Compounds, jobs: int) -> dict[str, np.ndarray]:
        """See `fluid.partner.dp.pate_labeler.Source`."""
        rows = [self.row[key] for key in queries.inchikeys]
        return {name: found[rows] for name, found in self.raw.items()}

    def answer(self, task: Task, raw: np.ndarray, most: int) -> np.ndarray:
        """See `fluid.partner.dp.pate_labeler.Source`."""
        return voted(task, self.mechanism, raw, most)


def judge(test: Test, draws: Sequence[np.ndarray]) -> str:
    """Mean ROC-AUC over draws of the noise, with an interval."""
    positive = test.truth == 1
    rows = bootstrap_rows(len(positive), DRAWS, seed=7)
    samples = [
        roc_auc(positive[chosen], draws[number % len(draws)][chosen])
        for number, chosen in enumerate(rows)
    ]
    low, high = interval(samples)
    mean = float(np.mean([roc_auc(positive, one) for one in draws]))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


VOTES = Mechanism(
    PATE, unit=MEASUREMENT, epsilon=1.0, sub_teachers=20, sigma=10.0, check_sigma=20.0
)


def mechanisms() -> Iterator[Mechanism]:
    """What the table has rows for: without a budget, then with one."""
    for each in (8.0, 2.0, 1.0, 0.5):
        yield Mechanism(LABEL_ONLY, unit=MEASUREMENT, label_epsilon=each)
    for sigma in (0.25, 1.0, 4.0):
        yield Mechanism(GAUSSIAN, unit=MEASUREMENT, sigma=sigma)
    for total in (8.0, 32.0):
        yield Mechanism(LABEL_ONLY, unit=MEASUREMENT, epsilon=total, label_epsilon=0.5)
        yield Mechanism(GAUSSIAN, unit=MEASUREMENT, epsilon=total, sigma=4.0)
    for total in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        yield replace(VOTES, epsilon=total)


def describe(mechanism: Mechanism) -> str:
    """Its settings in a few words."""
    if mechanism.kind == LABEL_ONLY:
        return f"label-only, epsilon {mechanism.label_epsilon:g} a label"
    if mechanism.kind == GAUSSIAN:
        return f"gaussian, sigma {mechanism.sigma:g}"
    check = f", threshold {mechanism.threshold:g}" if mechanism.threshold else ""
    return f"pate, {mechanism.sub_teachers} sub-teachers, sigma {mechanism.sigma:g}{check}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of the demonstration")
    parser.add_argument("external", type=Path, help="external test table")
    parser.add_argument("tables", type=Path, nargs="+", help="the partners' tables")
    parser.add_argument("--draws", type=int, default=3, help="draws of the noise")
    parser.add_argument("--jobs", type=int, default=None, help="cores to use")
    given = parser.parse_args()
    logging.getLogger("fluid").setLevel(logging.ERROR)
    study = Study(given.demo, given.external, given.tables, count_jobs(given.jobs))
    tests = list(study.tests.values())
    print("| mechanism | epsilon | labels a partner | validation ROC-AUC | external ROC-AUC |")
    print("|---|---|---|---|---|")
    plain = study.unprotected()
    cells = [judge(test, [one]) for test, one in zip(tests, plain, strict=True)]
    print(f"| none | none | {len(study.public):,} | {' | '.join(cells)} |", flush=True)
    plain = study.unnoised()
    cells = [judge(test, [one]) for test, one in zip(tests, plain, strict=True)]
    print(f"| shares of votes | none | {len(study.public):,} | {' | '.join(cells)} |", flush=True)
    for mechanism in mechanisms():
        # Where all are labelled, thousands of draws of the noise are in one release.
        draws = given.draws if mechanism.epsilon else 1
        found = list(study.noisy(mechanism, draws))
        plan = found[0][0]
        cells = [judge(test, [told[n] for _, told in found]) for n, test in enumerate(tests)]
        print(
            f"| {describe(mechanism)} | {plan.cost.epsilon:,.3g} | {plan.answered[TASK]:,} | "
            f"{' | '.join(cells)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
