"""Student quality against epsilon of PATE, as a Markdown table.

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
from fluid.exchange.noise_mechanism import MEASUREMENT, PATE, Mechanism
from fluid.exchange.public_set import open_public_set
from fluid.learn.metrics import bootstrap_rows, interval, roc_auc
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.disclosure_guard import disclose
from fluid.partner.dp.budget import Plan, plan_release, rank_queries
from fluid.partner.dp.pate import SubTeachers, fit_sub_teachers
from fluid.partner.dp.pate_labeler import PateLabeler
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.simulation.holdout import hold_out
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
    """A partner's table and teacher."""

    name: str
    table: LabelledCompounds
    model: TrainedModel
    secret: bytes


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
        # Regression would take half of a compound's budget.
        self.federation = replace(federation, tasks=federation.tasks[:1])
        self.jobs = jobs
        self._voters: dict[str, SubTeachers] = {}
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
        """Train a partner's teacher."""
        secret = name.encode().ljust(32, b".")
        fitted = fit_model(table, self.federation, name, secret, run=Run(jobs=self.jobs))
        return Partner(name, table, fitted.model, secret)

    def student(
        self, federation: Federation, labels: dict[str, dict[str, TeacherLabels]]
    ) -> list[np.ndarray]:
        """Probabilities that the student of some annotations gives the tests' compounds."""
        pooled = pool_labels(federation.tasks, labels, digest_connectivities(self.public))
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
        labels = {
            partner.name: TeacherLabeler(partner.model, partner.secret, self.federation).label(
                self.public, self.jobs
            )
            for partner in self.partners
        }
        return self.student(self.federation, labels)

    def noisy(self, mechanism: Mechanism, draws: int) -> Iterator[tuple[Plan, list[np.ndarray]]]:
        """Students of annotations through a mechanism, one for each draw of the noise."""
        federation = replace(self.federation, mechanism=mechanism)
        plan = plan_release(mechanism, federation.tasks, len(self.public))
        keys = list(self.public.inchikeys)
        for draw in range(draws):
            labels = {}
            for partner in self.partners:
                ranks = rank_queries(keys, f"{partner.name} {draw}")
                labeler = PateLabeler(federation, self.voters(partner), ranks, plan)
                labels[partner.name] = labeler.label(self.public, self.jobs)
            yield plan, self.student(federation, labels)

    def unnoised(self) -> list[np.ndarray]:
        """The student of all votes of all sub-teachers, without noise: what dividing costs."""
        federation = replace(self.federation, mechanism=VOTES)
        labels = {}
        for partner in self.partners:
            predictions = self.voters(partner).predict(self.public)[TASK]
            # As many votes as there are, no matter how few: a share of the votes.
            voting = np.isfinite(predictions).sum(axis=1)
            share = np.where(
                voting > 0,
                (predictions >= 0.5).sum(axis=1) / np.maximum(voting, 1),
                0.5,
            )
            constant = np.full(len(share), VOTES.reliability)
            found = OwnFoldLabels(share, np.full(share.shape, np.nan), constant, constant)
            task = federation.tasks[0]
            labels[partner.name] = {TASK: disclose(task, federation.policy, found)}
        return self.student(federation, labels)

    def voters(self, partner: Partner) -> SubTeachers:
        """A partner's sub-teachers, whose predictions for the public set are computed once."""
        if partner.name not in self._voters:
            federation = replace(self.federation, mechanism=VOTES)
            model = fit_sub_teachers(
                partner.table, partner.model, federation, partner.secret, self.jobs
            )
            voters = SubTeachers(model, partner.secret)
            predictions = voters.predict(self.public, self.jobs)
            row = {key: row for row, key in enumerate(self.public.inchikeys)}
            self._voters[partner.name] = CachedVoters(model, partner.secret, predictions, row)
        return self._voters[partner.name]


@dataclass(frozen=True)
class CachedVoters(SubTeachers):
    """Sub-teachers that look their predictions for the public set up."""

    predictions: dict[str, np.ndarray]
    row: dict[str, int]

    def predict(self, queries: Compounds, jobs: int = 1) -> dict[str, np.ndarray]:
        """See `SubTeachers.predict`."""
        rows = [self.row[key] for key in queries.inchikeys]
        return {name: found[rows] for name, found in self.predictions.items()}


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


EPSILONS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def describe(mechanism: Mechanism) -> str:
    """Its settings in a few words."""
    return (
        f"pate, {mechanism.sub_teachers} sub-teachers, sigma {mechanism.sigma:g}, "
        f"threshold {mechanism.threshold:g}"
    )


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
    for epsilon in EPSILONS:
        mechanism = replace(VOTES, epsilon=epsilon)
        found = list(study.noisy(mechanism, given.draws))
        plan = found[0][0]
        cells = [judge(test, [each[n] for _, each in found]) for n, test in enumerate(tests)]
        print(
            f"| {describe(mechanism)} | {plan.cost.epsilon:,.3g} | {plan.answered[TASK]:,} | "
            f"{' | '.join(cells)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
