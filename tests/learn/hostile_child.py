"""A process that loads the model folders it is told of, and predicts five compounds by each.

A folder that makes it abort, run away or take much memory takes nobody else with it. Each line of
input is a folder; each line of output is how it ended.
"""

from __future__ import annotations

import resource
import sys
import traceback
import warnings
from pathlib import Path

from fluid.base.errors import FluidError
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.learn.domain import DOMAINS
from fluid.learn.storage import load_measured, load_model, load_trained

SMILES = ("CCO", "c1ccccc1CC#N", "n1ccccc1C(=O)O", "C1CCNCC1CC", "s1cccc1C(F)(F)F")
ROOM = 1_200_000_000


def load_and_predict(folder: Path) -> None:
    """What a command does with a model folder."""
    model = load_model(folder)
    if model.card.kind == "teacher":
        load_trained(folder, "teacher")
    load_measured(folder, model)
    spec: FeatureSpec = model.chemistry.features
    structures = [standardize(smiles, StandardizerSpec()) for smiles in SMILES]
    compounds = featurize(structures, list(SMILES), spec)
    for domain in DOMAINS:
        found = model.predict(compounds, domain)
        assert all(len(one.values) == len(SMILES) for one in found.by_task.values())


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    for number, line in enumerate(sys.stdin):
        try:
            load_and_predict(Path(line.strip()))
            answer = "ok"
        except FluidError as error:
            answer = f"refused {error}"
        except BaseException:
            answer = f"failed {traceback.format_exc()!r}"
        print(answer.encode("unicode_escape").decode(), flush=True)
        if number == 0:
            # The first folder is a good one, and everything is loaded and compiled now.
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))


if __name__ == "__main__":
    main()
