"""Real overlap, one compound at a time: what would the draft be if it had not been private?

With folds by framework, one framework at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.folds import fold_keys
from fluid.partner.audit.exports import Export, export_actual, train
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions


def measure_influence(
    table: LabelledCompounds,
    public: Compounds,
    federation: Federation,
    options: TrainingOptions,
    secret: bytes,
    most: int,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Train the partner's own teacher again without a compound that is public too.

    With folds by framework all compounds of its framework are left out. Its own row must stay the
    same to the last digit; how many others move is counted.

    Parameters
    ----------
    table, federation, options, secret
        Of the teacher audited.
    public
        Public compounds, those that are private too among them.
    most
        How many compounds to try, drawn at random.

    Returns
    -------
    dict
        ``overlap`` (public compounds that are private too), ``tried``, ``rows_changed`` (of these
        how many rows differ), and by task ``moved`` (mean number of other rows that differ) and
        ``largest`` (largest difference of a prediction).
    """
    held = {key: row for row, key in enumerate(table.compounds.connectivities)}
    shared = [i for i, key in enumerate(public.connectivities) if key in held]
    found: dict[str, Any] = {"overlap": len(shared), "tried": 0, "rows_changed": 0, "tasks": {}}
    whole = train(table, federation, options, secret, jobs)
    if whole is None or not shared or not most:
        return found
    before = export_actual(whole, table, secret, federation, options, public, jobs)
    random = np.random.default_rng([seed, 3])
    drawn = np.sort(random.choice(shared, min(most, len(shared)), replace=False))
    decisive = fold_keys(table.compounds, options.folds_agreed(federation))
    moved: dict[str, list[int]] = {name: [] for name in whole.measured}
    largest = dict.fromkeys(whole.measured, 0.0)
    for position in drawn:
        key = public.connectivities[position]
        less = table.take(np.flatnonzero(decisive != decisive[held[key]]))
        left_out = train(less, federation, options, secret, jobs)
        found["tried"] += 1
        progress(found["tried"])
        if left_out is None:
            continue
        after = export_actual(left_out, less, secret, federation, options, public, jobs)
        for name in moved:
            changed, most_of_all = _difference(before[name], after[name])
            found["rows_changed"] += int(changed[position])
            moved[name].append(int(changed.sum()))
            largest[name] = max(largest[name], most_of_all)
    found["tasks"] = {
        name: {"moved": round(float(np.mean(each)), 1), "largest": round(largest[name], 4)}
        for name, each in moved.items()
        if each
    }
    return found


def _difference(before: Export, after: Export) -> tuple[np.ndarray, float]:
    """Which rows differ in any column, shape (n,), and the largest difference of a prediction."""
    left = np.column_stack([before.prediction, before.uncertainty, before.reliability])
    right = np.column_stack([after.prediction, after.uncertainty, after.reliability])
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    gap = np.abs(before.prediction - after.prediction)
    return ~same.all(axis=1), float(np.nanmax(gap)) if np.isfinite(gap).any() else 0.0
