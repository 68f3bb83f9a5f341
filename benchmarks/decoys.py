"""A coordinator that makes the public set to find out who is in the private data, as Markdown.

``make study-decoys`` runs it on the folders of ``make demo``. For every private compound the public
set holds six decoys. *Forged*: rows with the SMILES and key of some other public compound and the
features of the private one, so that models which have seen it label it in a fold of the decoy's.
*Legal*: true rows of the six most similar analogues that could be made. Forged sets are also
offered to the checks: to a sample drawn by the file's digest, and to the recomputation of all rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.privacy_tables import TableRow, log, markdown
from fluid.base.errors import MismatchError
from fluid.base.run import Run
from fluid.chem.analogues import grow_analogues
from fluid.chem.arrow import compounds_schema, compounds_to_batch
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.features import featurize
from fluid.chem.similarity import tanimoto
from fluid.chem.standardize import Structure, StructureError, standardize_row
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.exchange.sealed import write_sealed
from fluid.learn.folds import FOLDS_BY
from fluid.learn.storage import load_trained
from fluid.partner.audit.arena import Arena
from fluid.partner.audit.channels import (
    metadata_attacks,
    neighbour_attacks,
    neighbour_metadata_attacks,
    own_row_attacks,
)
from fluid.partner.audit.exports import ACTUAL, TeacherRecipe
from fluid.partner.audit.game import Game, play
from fluid.partner.audit.run import private_table, training_options
from fluid.partner.audit.statistics import Ranking, rank_members
from fluid.partner.recompute import recompute_public
from fluid.partner.table import LabelledCompounds

PARTNERS = ("aurora", "draco")
DECOYS = 6
# Analogues made of a compound, of which the most similar are taken.
MADE = 24
# Forged sets that are offered to the checks, and compounds of each.
OFFERED, SIZE = 20, 772

Scores = dict[str, tuple[np.ndarray, np.ndarray]]


def forged_decoys(own: Compounds, public: Compounds, random: np.random.Generator) -> Compounds:
    """Six for each compound: its features under names of public compounds that are not private."""
    free = np.flatnonzero(~np.isin(public.connectivities, own.connectivities))
    names = public.take(np.concatenate([random.choice(free, DECOYS, False) for _ in own.ids]))
    return replace(
        own.take(np.repeat(np.arange(len(own)), DECOYS)),
        ids=names.ids,
        smiles=names.smiles,
        inchikeys=names.inchikeys,
    )


def legal_decoys(
    own: Compounds, public: Compounds, federation: Federation, random: np.random.Generator
) -> tuple[Compounds, np.ndarray]:
    """True compounds most similar to each compound, not private, and their similarity (n, 6).

    Analogues are made; where there are few, compounds of the public set take their place.
    """
    private, chemistry = set(own.connectivities), federation.chemistry
    plain = replace(chemistry.features, descriptors="none")
    free = public.take(~np.isin(public.connectivities, own.connectivities))
    parts, similarity = [], []
    for row, smiles in enumerate(own.smiles):
        made: dict[str, Structure] = {}
        known = tanimoto(free.fingerprints, own.fingerprints[row : row + 1])[:, 0]
        nearest = [free.smiles[place] for place in np.argsort(-known, kind="stable")[:DECOYS]]
        grown = [text for text, _ in grow_analogues(smiles, random, MADE, ("mutations",))]
        for text in [*nearest, *grown]:
            with suppress(StructureError):
                structure = standardize_row(text, chemistry.standardizer)
                if structure.inchikey[:14] not in private:
                    made.setdefault(structure.inchikey[:14], structure)
        structures = list(made.values())
        offered = featurize(structures, [""] * len(structures), plain)
        near = tanimoto(offered.fingerprints, own.fingerprints[row : row + 1])[:, 0]
        order = np.argsort(-near, kind="stable")[:DECOYS]
        chosen = [structures[place] for place in order]
        parts.append(featurize(chosen, [""] * DECOYS, chemistry.features))
        similarity.append(near[order])
    return concatenate(parts), np.stack(similarity)


def make_arena(table: LabelledCompounds, forged: Compounds, legal: Compounds) -> Arena:
    """The private compounds, then forged and legal decoys of each."""
    n = len(table.compounds)
    places = n + np.arange(n * DECOYS).reshape(n, DECOYS)
    one = np.ones(places.shape, dtype=np.float32)
    together = concatenate([table.compounds, forged, legal]).with_cache()
    return Arena(table, together, places, one, places + n * DECOYS, one)


def attack(game: Game, index: int) -> Scores:
    """Scores of every attack of a task by channel, and who was in."""
    task, arena = game.recipe.federation.tasks[index], game.arena
    rows, labels = arena.table.labels.column(index)
    inside = game.inside[game.trained[task.name]][:, rows]
    releases = [game.exports[task.name][ACTUAL]]
    found: Scores = {}
    for name, scores in own_row_attacks(task, releases, inside, rows, labels):
        found[f"own row {name}"] = scores, inside
    for name, scores in metadata_attacks(releases, inside, rows):
        found[f"own row, metadata {name}"] = scores, inside
    for kind, near, similarity in (
        ("forged", arena.near[rows], arena.similarity[rows]),
        ("legal", arena.near_all[rows], arena.similarity_all[rows]),
    ):
        for name, scores in neighbour_attacks(task, releases, inside, labels, near, similarity):
            found[f"{kind}, labels {name}"] = scores, inside
        for name, scores in neighbour_metadata_attacks(releases, inside, near, similarity):
            found[f"{kind}, metadata {name}"] = scores, inside
    return found


def rank(scores: np.ndarray, inside: np.ndarray) -> Ranking:
    """ROC-AUC, with what one compound has in common in all shadow teachers."""
    cluster = np.broadcast_to(np.arange(inside.shape[1]), inside.shape)
    kept = np.isfinite(scores)
    return rank_members(scores[kept], inside[kept], cluster[kept])


CHANNELS = ("own row", "own row, metadata", "forged, labels", "forged, metadata",
            "legal, labels", "legal, metadata")  # fmt: skip


def show_attacks(
    demo: Path, federation: Federation, public: Compounds, given: argparse.Namespace
) -> str:
    """A table of the strongest attack by channel, intervals for all attacks at once."""
    run = Run(jobs=given.jobs)
    found: list[tuple[list[str], dict[str, Ranking]]] = []
    for partner in given.partner or PARTNERS:
        folder = demo / partner / "teacher"
        model = load_trained(folder, "teacher")
        table = private_table(folder, model, federation)
        table = replace(table, compounds=table.compounds.with_cache())
        random = np.random.default_rng(0)
        legal, similarity = legal_decoys(table.compounds, public, federation, random)
        log(f"{partner}: legal decoys have similarity {similarity.mean():.2f} in the mean")
        arena = make_arena(table, forged_decoys(table.compounds, public, random), legal)
        for by in FOLDS_BY:
            options = replace(training_options(model), folds_by=by)
            recipe = TeacherRecipe(federation, options)
            game = play(arena, recipe, 0.5, given.shadows, run, unprotected=False)
            for index, task in enumerate(federation.tasks):
                if task.name in game.exports:
                    ranked = {name: rank(*one) for name, one in attack(game, index).items()}
                    found.append(([partner, task.name, by], ranked))
                    log(f"{partner} {task.name} {by}: {_cells(ranked, 0.95)}")
    level = 1.0 - 0.05 / sum(len(ranked) for _, ranked in found)
    rows = [[*names, *_cells(ranked, level)] for names, ranked in found]
    return markdown(["partner", "task", "folds by", *CHANNELS], rows)


def _cells(ranked: dict[str, Ranking], level: float) -> TableRow:
    cells = []
    for channel in CHANNELS:
        mine = [one for name, one in ranked.items() if name.rpartition(" ")[0] == channel]
        best = max(mine, key=lambda one: one.auc)
        interval = best.interval(level)
        cells.append(f"{best.auc:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    return cells


def show_checks(public: PublicSet, demo: Path, federation: Federation) -> str:
    """How many forged sets pass a sample drawn by their digest, and how many the recomputation."""
    compounds = concatenate(list(public.chunks()))
    own = load_trained(demo / PARTNERS[0] / "teacher", "teacher").library
    random = np.random.default_rng(0)
    few = compounds.take(random.choice(len(compounds), SIZE, replace=False))
    checks: dict[str, Callable[[PublicSet], object]] = {
        "a sample of 64 rows": lambda offered: offered.check(federation),
        "every row": lambda offered: recompute_public(offered, federation, Run(jobs=1)),
    }
    passed = dict.fromkeys(checks, 0)
    with tempfile.TemporaryDirectory() as folder:
        for forged in _forged_sets(few, own, random):
            offered = _write(Path(folder) / "public.parquet", forged, public)
            for name, check in checks.items():
                with suppress(MismatchError):
                    check(offered)
                    passed[name] += 1
    rows = [[name, f"{count} of {OFFERED}"] for name, count in passed.items()]
    return markdown([f"computed again, of {SIZE} with {DECOYS} forged", "sets that pass"], rows)


def _forged_sets(
    few: Compounds, own: Compounds, random: np.random.Generator
) -> Iterator[Compounds]:
    for _ in range(OFFERED):
        target = own.take(np.repeat(random.choice(len(own), 1), DECOYS))
        places = random.choice(len(few), DECOYS, replace=False)
        names = few.take(places)
        decoys = replace(target, ids=names.ids, smiles=names.smiles, inchikeys=names.inchikeys)
        rest = np.setdiff1d(np.arange(len(few)), places)
        yield concatenate([few.take(rest), decoys])


def _write(path: Path, compounds: Compounds, like: PublicSet) -> PublicSet:
    schema = compounds_schema(compounds.bits, compounds.descriptors.shape[1])
    batches = iter([compounds_to_batch(compounds)])
    manifest = like.sealed.manifest
    write_sealed(path, schema, batches, lambda count: manifest | {"n_compounds": count})
    return open_public_set(path)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="what make demo has made")
    parser.add_argument("--shadows", type=int, default=16, help="shadow teachers in each game")
    parser.add_argument("--partner", action="append", help="by default " + " and ".join(PARTNERS))
    parser.add_argument("--jobs", type=int, default=None)
    given = parser.parse_args()
    federation = load_federation(given.demo / "federation.toml")
    public = open_public_set(given.demo / "public.parquet")
    print(show_checks(public, given.demo, federation), end="\n\n", flush=True)
    whole = concatenate(list(public.chunks()))
    print(show_attacks(given.demo, federation, whole, given))


if __name__ == "__main__":
    main()
