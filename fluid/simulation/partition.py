"""Who holds which compound in a virtual consortium."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.scaffolds import scaffold_keys
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.simulation.partition_spec import (
    FEWEST_PARTNERS,
    MOST_PARTNERS,
    PartitionError,
    PartitionSpec,
)

logger = logging.getLogger(__name__)

OTHERS = "others"
_QUINTILES = (0.2, 0.4, 0.6, 0.8)
# Above this many compounds the clusters are found on batches.
_BATCH_ABOVE = 20_000
_DRAWS = 100
_LONGEST_NAME = 63


@dataclass(frozen=True)
class Part:
    """What one partner holds.

    Attributes
    ----------
    name
        ``partner-1`` and so on (``partner-01`` if there are ten or more), or made from the value
        of the column; fit for files and folders.
    rows
        Positions in the compounds that were divided, int64, ascending, without repeats.
    """

    name: str
    rows: np.ndarray


def divide(
    compounds: Compounds,
    spec: PartitionSpec,
    seed: int,
    labels: LabelMatrix | None = None,
    groups: Sequence[frozenset[str]] | None = None,
    tasks: Sequence[Task] | None = None,
) -> list[Part]:
    """Divide compounds among partners.

    Every compound has exactly one holder, with three exceptions. Those of `overlap` have a second
    holder. With ``"column"``, a compound found in several groups belongs to each of them; and a
    compound without group, or only in small groups that together do not reach `minimum`, belongs
    to nobody (a warning is logged).

    Parameters
    ----------
    compounds
        n compounds, one row per connectivity.
    spec
        How to divide them.
    seed
        Not negative; the same seed gives the same division.
    labels, tasks
        Needed by ``"label"``: labels of shape (n, n_tasks) and their tasks. The classes of the
        first classification task that has labels are spread; without one, the quintiles of the
        first regression task.
    groups
        Needed by ``"column"``: the values found for each compound, n sets.

    Returns
    -------
    list of Part
        One per partner, two or more, each with `minimum` compounds or more.

    Raises
    ------
    PartitionError
        If there are too few compounds, something needed is missing, or no draw gives every
        partner its minimum.
    """
    rng = np.random.default_rng(seed)
    n = len(compounds)
    if spec.kind == "column":
        names, members = _by_column(spec, n, groups)
    else:
        if n < spec.partners * spec.minimum:
            raise PartitionError(
                f"partition {spec.kind}: {n} compounds do not suffice for {spec.partners} "
                f"partners of {spec.minimum} or more; at most {n // spec.minimum} partners, or "
                "lower the minimum"
            )
        owners = _owners(compounds, spec, rng, labels, tasks)
        width = len(str(spec.partners))
        names = [f"partner-{number + 1:0{width}d}" for number in range(spec.partners)]
        members = [np.flatnonzero(owners == partner) for partner in range(spec.partners)]
    members = _overlap(members, n, spec.overlap, rng)
    return [Part(name, rows) for name, rows in zip(names, members, strict=True)]


def _owners(
    compounds: Compounds,
    spec: PartitionSpec,
    rng: np.random.Generator,
    labels: LabelMatrix | None,
    tasks: Sequence[Task] | None,
) -> np.ndarray:
    """The partner of each compound, int64 of shape (n,)."""
    n = len(compounds)
    if spec.kind == "kmeans":
        return _by_cluster(compounds, spec, rng)
    if spec.kind == "scaffold":
        found = np.unique(scaffold_keys(compounds), return_inverse=True)[1]
        return _by_dirichlet(found, spec, rng)
    if spec.kind == "label":
        return _by_dirichlet(_classes(n, labels, tasks), spec, rng)
    sizes = np.full(spec.partners, n // spec.partners)
    sizes[: n % spec.partners] += 1
    if spec.kind == "size":
        # Only compounds above the minimum are drawn, so no draw can fail.
        free = n - spec.partners * spec.minimum
        open_to_all = np.ones(spec.partners, dtype=bool)
        sizes = spec.minimum + rng.multinomial(free, _shares(spec, open_to_all, rng))
    owners = np.repeat(np.arange(spec.partners), sizes)
    return rng.permutation(owners)


def _by_cluster(compounds: Compounds, spec: PartitionSpec, rng: np.random.Generator) -> np.ndarray:
    """Clusters of fingerprints, some compounds at random, small clusters topped up."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    bits = np.unpackbits(compounds.fingerprints, axis=1).astype(np.float32)
    make = MiniBatchKMeans if len(bits) > _BATCH_ABOVE else KMeans
    model = make(n_clusters=spec.partners, n_init=1, random_state=int(rng.integers(2**31)))
    with single_threaded_blas(), warnings.catch_warnings():
        # With fewer distinct fingerprints than clusters some are empty; they are topped up below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        owners = model.fit_predict(bits).astype(np.int64)
        centres = model.cluster_centers_
    mixed = rng.choice(len(owners), round(spec.mixing * len(owners)), replace=False)
    owners[mixed] = rng.integers(spec.partners, size=len(mixed))
    return _top_up(owners, bits, centres, spec.minimum)


def _top_up(owners: np.ndarray, bits: np.ndarray, centres: np.ndarray, minimum: int) -> np.ndarray:
    """Bring small clusters to `minimum`, the smallest first.

    A cluster takes the compounds nearest to its centre (Euclidean, ties by row) from those that
    hold more than `minimum`, one after another, and stops at `minimum`.
    """
    owners = owners.copy()
    sizes = np.bincount(owners, minlength=len(centres))
    for partner in np.argsort(sizes, kind="stable"):
        if sizes[partner] >= minimum:
            continue
        centre = centres[partner].astype(np.float64)
        distances = [float(np.square(row - centre).sum()) for row in bits]
        for row in np.argsort(distances, kind="stable"):
            donor = owners[row]
            if donor == partner or sizes[donor] <= minimum:
                continue
            owners[row] = partner
            sizes[donor] -= 1
            sizes[partner] += 1
            if sizes[partner] == minimum:
                break
    return owners


def _classes(n: int, labels: LabelMatrix | None, tasks: Sequence[Task] | None) -> np.ndarray:
    """The class, or quintile, of each compound in one task; -1 where it has no label."""
    if labels is None or tasks is None:
        raise PartitionError("partition label: no labels are given")
    order = sorted(range(len(tasks)), key=lambda task: not tasks[task].is_classification)
    for task in order:
        # A censored label ("more than 5") is enough to place a compound in a quintile.
        rows, values = labels.column(task, censored=True)
        if not len(rows):
            continue
        if not tasks[task].is_classification:
            values = np.searchsorted(np.quantile(values, _QUINTILES), values, side="right")
        classes = np.full(n, -1, dtype=np.int64)
        classes[rows] = values
        return classes
    raise PartitionError("partition label: no task has labels")


def _by_dirichlet(classes: np.ndarray, spec: PartitionSpec, rng: np.random.Generator) -> np.ndarray:
    """Spread each class by its own shares; redraw until every partner has its minimum.

    Large classes come first. A partner that holds its equal share of the compounds or more draws
    no more. Each compound is drawn separately: cutting a class at rounded cumulative shares would
    send every class of one compound to the last partner. Compounds without class (-1) go anywhere.
    """
    names, counts = np.unique(classes[classes >= 0], return_counts=True)
    members = {int(name): np.flatnonzero(classes == name) for name in names[counts > 1]}
    alone = np.flatnonzero(np.isin(classes, names[counts == 1]))
    largest = sorted(members, key=lambda name: -len(members[name]))
    blocks = [*(members[name] for name in largest), *(alone[i : i + 1] for i in range(len(alone)))]
    unknown = np.flatnonzero(classes < 0)
    full = counts.sum() / spec.partners
    owners = np.zeros(len(classes), dtype=np.int64)
    for _ in range(_DRAWS):
        sizes = np.zeros(spec.partners, dtype=np.int64)
        for rows in blocks:
            drawn = rng.multinomial(len(rows), _shares(spec, sizes < full, rng))
            owners[rng.permutation(rows)] = np.repeat(np.arange(spec.partners), drawn)
            sizes += drawn
        owners[unknown] = rng.integers(spec.partners, size=len(unknown))
        if np.bincount(owners, minlength=spec.partners).min() >= spec.minimum:
            return owners
    raise PartitionError(
        f"partition {spec.kind}: none of {_DRAWS} draws with alpha = {spec.alpha:g} gave each of "
        f"{spec.partners} partners {spec.minimum} compounds; raise alpha, or ask for fewer "
        "partners or a lower minimum"
    )


def _shares(spec: PartitionSpec, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Dirichlet draw over the partners, shape (partners,), 0 where not allowed; sums to 1."""
    shares = np.where(allowed, rng.dirichlet(np.full(spec.partners, spec.alpha)), 0.0)
    # A small alpha may put everything on partners that are not allowed; an extreme one overflows.
    if not shares.sum() > 0:
        shares = allowed.astype(np.float64)
    return shares / shares.sum()


def _by_column(
    spec: PartitionSpec, n: int, groups: Sequence[frozenset[str]] | None
) -> tuple[list[str], list[np.ndarray]]:
    """Names and rows of each value of the column; small ones are pooled."""
    if groups is None or len(groups) != n:
        raise PartitionError(
            f"partition column: the values of column '{spec.column}' are not given "
            f"for each of {n} compounds"
        )
    found: dict[str, list[int]] = {}
    for row, values in enumerate(groups):
        for value in values:
            found.setdefault(value, []).append(row)
    large = sorted(value for value in found if len(found[value]) >= spec.minimum)
    pooled = sorted({row for value in found if value not in large for row in found[value]})
    names = _safe_names(large)
    members = [np.array(found[value], dtype=np.int64) for value in large]
    if len(pooled) >= spec.minimum:
        names = _safe_names([*large, OTHERS])
        members.append(np.array(pooled, dtype=np.int64))
    if not FEWEST_PARTNERS <= len(members) <= MOST_PARTNERS:
        raise PartitionError(
            f"partition column: column '{spec.column}' has {len(large)} values with "
            f"{spec.minimum} compounds or more, which gives {len(members)} partners; allowed are "
            f"{FEWEST_PARTNERS} to {MOST_PARTNERS}, change the minimum"
        )
    left_out = n - len(np.unique(np.concatenate(members)))
    if left_out:
        logger.warning(
            "partition column: %d of %d compounds belong to nobody: they have no value of '%s', "
            "or only values with fewer than %d compounds together",
            left_out,
            n,
            spec.column,
            spec.minimum,
        )
    return names, members


def _safe_names(values: Sequence[str]) -> list[str]:
    """Names of letters, digits, ``-`` and ``_``, all different even if case is ignored."""
    names: list[str] = []
    taken: set[str] = set()
    for value in values:
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-_") or "group"
        name, number = base[:_LONGEST_NAME], 1
        while name.lower() in taken:
            number += 1
            name = f"{base[: _LONGEST_NAME - 5]}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _overlap(
    members: list[np.ndarray], n: int, share: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Give each of a share of the compounds to one more partner."""
    holders = np.zeros((len(members), n), dtype=bool)
    for partner, rows in enumerate(members):
        holders[partner, rows] = True
    count = holders.sum(axis=0)
    able = np.flatnonzero((count > 0) & (count < len(members)))
    wanted = min(round(share * int((count > 0).sum())), len(able))
    for row in np.sort(rng.choice(able, wanted, replace=False)):
        holders[rng.choice(np.flatnonzero(~holders[:, row])), row] = True
    return [np.flatnonzero(row) for row in holders]
