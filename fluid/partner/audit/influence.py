"""Real overlap, one compound at a time: what would the draft be if it had not been private?

With folds by framework, one framework at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fluid.base.run import Run
from fluid.learn.folds import fold_keys
from fluid.partner.audit.exports import Export, export_actual, train
from fluid.partner.audit.target import AuditTarget


def measure_influence(target: AuditTarget, most: int, run: Run) -> dict[str, Any]:
    """Train the partner's own teacher again without a compound that is public too.

    With folds by framework all compounds of its framework are left out. Its own row must stay the
    same to the last digit. How many others move is counted.

    Parameters
    ----------
    target
        The teacher audited. Its public compounds hold those that are private too.
    most
        How many compounds to try, drawn at random by the run's seed.
    run
        Its progress counts the compounds tried.

    Returns
    -------
    dict
        ``overlap`` (public compounds that are private too), ``tried``, ``rows_changed`` (how many
        of the rows tried differ), and by task ``moved`` (mean number of other rows that differ)
        and ``largest`` (largest difference of a prediction).
    """
    table, public, recipe = target.table, target.public, target.recipe
    private_rows = {key: row for row, key in enumerate(table.compounds.connectivities)}
    shared = [i for i, key in enumerate(public.connectivities) if key in private_rows]
    found: dict[str, Any] = {"overlap": len(shared), "tried": 0, "rows_changed": 0, "tasks": {}}
    whole = train(recipe, table, target.secret, run.cores)
    if whole is None or not shared or not most:
        return found
    before = export_actual(whole, public, run.cores)
    random = np.random.default_rng([run.seed, 3])
    drawn = np.sort(random.choice(shared, min(most, len(shared)), replace=False))
    keys = fold_keys(table.compounds, recipe.options.folds_agreed(recipe.federation))
    moved: dict[str, list[int]] = {task.name: [] for task in whole.model.tasks}
    largest = dict.fromkeys(moved, 0.0)
    for position in drawn:
        key = keys[private_rows[public.connectivities[position]]]
        without = train(recipe, table.take(np.flatnonzero(keys != key)), target.secret, run.cores)
        found["tried"] += 1
        run.progress(found["tried"])
        if without is None:
            continue
        after = export_actual(without, public, run.cores)
        for name in moved:
            changed, gap = _difference(before[name], after[name])
            found["rows_changed"] += int(changed[position])
            moved[name].append(int(changed.sum()))
            largest[name] = max(largest[name], gap)
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
