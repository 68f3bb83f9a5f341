"""Where the CPU of `annotate` goes: time inside the functions that do each part, one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from benchmarks.annotate import bare
from benchmarks.material import FOLDER, public_set, teacher
from benchmarks.measure import in_new_process
from benchmarks.table import Row

COMPOUNDS, BARE = 500_000, 100_000


class Clock:
    """CPU seconds by part; what a part calls of another part counts there alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.process_time()

    def enter(self, part: str) -> None:
        """From here on time is of this part."""
        self._settle()
        self._open.append(part)

    def leave(self) -> None:
        """Back to the part before."""
        self._settle()
        self._open.pop()

    def _settle(self) -> None:
        now = time.process_time()
        if self._open:
            part = self._open[-1]
            self.spent[part] = self.spent.get(part, 0.0) + now - self._since
        self._since = now

    def around(self, owner: Any, name: str, part: str) -> None:
        """Measure a function of a module or class, and each step of what it yields."""
        whole = getattr(owner, name)

        @wraps(whole)
        def timed(*arguments: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                returned = whole(*arguments, **named)
            finally:
                self.leave()
            return self._steps(returned, part) if isinstance(returned, Iterator) else returned

        setattr(owner, name, timed)

    def _steps(self, stream: Iterator[Any], part: str) -> Iterator[Any]:
        while True:
            self.enter(part)
            try:
                item = next(stream)
            except StopIteration:
                return
            finally:
                self.leave()
            yield item


def parts(folder: str, number: int) -> dict[str, float]:
    """CPU seconds of each part of annotating."""
    import fluid.learn.own_fold
    import fluid.partner.recompute
    import fluid.partner.teacher.folder
    import fluid.partner.teacher.labeler
    from fluid.base.run import Run
    from fluid.chem.compounds import Compounds
    from fluid.exchange.public_set import PublicSet
    from fluid.learn.estimators.tree_arrays import TreeArrays
    from fluid.partner import annotate as module

    target = FOLDER / "annotation.parquet"
    run: Callable[..., Any] = module.annotate
    # Compiled loops are loaded and checks done once before the clock runs.
    run(folder, public_set(64), target, run=Run(jobs=1))
    public = public_set(number)
    clock = Clock()
    clock.around(PublicSet, "chunks", "reading the public set")
    clock.around(fluid.partner.recompute, "content_digest", "comparing with what was computed")
    clock.around(fluid.partner.teacher.folder, "load_trained", "loading the teacher")
    clock.around(fluid.partner.teacher.labeler, "folds_of_repeats", "keyed folds")
    clock.around(Compounds, "feature_matrix", "features")
    clock.around(fluid.learn.own_fold, "similarity_apart", "nearest compounds in other folds")
    clock.around(TreeArrays, "sum", "trees")
    clock.around(fluid.partner.teacher.labeler, "disclose", "rounding")
    clock.around(module, "write_annotation", "assembling and writing")
    clock.enter("the rest")
    run(folder, public, target, run=Run(jobs=1))
    clock.leave()
    return clock.spent


def frameworks(number: int) -> float:
    """CPU seconds a compound of finding the skeletons that folds by framework are keyed by."""
    from fluid.chem.scaffolds import framework_keys

    chunk = next(public_set(number).chunks())
    # Modules are imported before the clock runs.
    framework_keys(chunk.take(np.arange(1)))
    started = time.process_time()
    framework_keys(chunk)
    return (time.process_time() - started) / len(chunk)


def rows() -> list[Row]:
    """Each part beside the whole, and the bare calls."""
    for number in (64, 10_000, BARE, COMPOUNDS):
        public_set(number)
    folder = str(teacher(1000, "lightgbm"))
    calls = in_new_process(bare, folder, BARE).value
    each = {name: spent * 1e6 / BARE for name, spent in calls.items()}
    spent = in_new_process(parts, folder, COMPOUNDS).value
    total = sum(spent.values())
    found = [
        Row(
            f"`annotate`, part: {part}",
            f"{seconds * 1e6 / COMPOUNDS:.1f} us of CPU a compound",
            f"{seconds / total:.0%} of {total * 1e6 / COMPOUNDS:.1f} us; bare trees "
            f"{each['trees']:.1f} us + kernel {each['kernel']:.1f} us",
        )
        for part, seconds in sorted(spent.items(), key=lambda item: -item[1])
    ]
    skeletons = in_new_process(frameworks, 10_000).value * 1e6
    return [*found, Row("frameworks, for folds by framework", f"{skeletons:.0f} us a compound", "")]
