"""A partner with a small teacher and three public sets, for tests of releases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fluid.base.run import Run
from fluid.chem.features import FeatureSpec
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.exchange.signing import generate_keys
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.partner.annotate import AnnotationSummary, annotate
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from tests.conftest import DATA, cut_table, public_rows, write_public


@dataclass(frozen=True)
class Home:
    """A partner with a trained teacher that was never asked; its policy allows two releases."""

    folder: Path

    @property
    def publics(self) -> list[PublicSet]:
        return [open_public_set(self.folder / f"{number}.parquet") for number in range(3)]

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    @property
    def key(self) -> Path:
        return self.folder / "keys" / "aurora.key"

    @property
    def federation(self) -> Path:
        return self.folder / "federation.toml"

    def draft(self, number: int = 0, teacher: Path | None = None) -> Path:
        """An unsigned annotation of one of three public sets."""
        output = self.folder / f"draft-{number}.parquet"
        self.annotate(output, number, None, teacher)
        return output

    def annotate(
        self,
        output: Path,
        number: int,
        key: Path | None,
        teacher: Path | None = None,
        policy: Path | None = None,
    ) -> AnnotationSummary:
        public = self.folder / f"{number}.parquet"
        return annotate(
            teacher or self.teacher, public, output, key=key, policy=policy, run=Run(jobs=1)
        )

    def train(self, output: Path, seed: int = 0, federation: Path | None = None) -> None:
        options = TrainingOptions("logistic", 3, 1, seed)
        train_teacher(
            [self.folder / "private.csv"],
            federation or self.federation,
            "aurora",
            output,
            options=options,
            run=Run(jobs=1),
        )


def build_home(folder: Path) -> Home:
    """Make everything that a home has."""
    home = Home(folder)
    tasks = [parse_task_option(text) for text in ("bbb:binary:BBB-,BBB+", "logbb:regression")]
    init_federation(home.federation, "trial", tasks, FeatureSpec(descriptors="none"))
    register_partner(home.federation, "aurora", generate_keys("aurora", folder / "keys")[1])
    text = home.federation.read_text(encoding="utf-8")
    home.federation.write_text(text.replace("max_releases = 10", "max_releases = 2"))
    cut_table(DATA / "partners" / "aurora.csv", folder / "private.csv", 90)
    home.train(home.teacher)
    for number in range(3):
        source = write_public(folder / f"{number}.csv", public_rows(24 + number * 2))
        prepare_public(
            [source],
            load_federation(home.federation),
            folder / f"{number}.parquet",
            run=Run(jobs=1),
        )
    return home
