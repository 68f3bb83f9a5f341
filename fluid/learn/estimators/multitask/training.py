"""Train a multi-task network with PyTorch.

The shape is that of SparseChem (Arany et al. 2022, arXiv 2203.04676): sparse features, a hidden
layer with dropout that all tasks share, a linear output for each, and one sum of losses over the
labels that there are. A missing label has no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.chem.compounds import Compounds
from fluid.learn.censored import censored_weights
from fluid.learn.estimators.base import logit
from fluid.learn.estimators.multitask.network import Network, network_input
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is trained; chosen on validation splits by `benchmarks.multitask`.

    Attributes
    ----------
    n_hidden
        Width of the hidden layer.
    dropout
        Share of its values that a step leaves out.
    epochs, batches
        How often each compound is seen, and steps of an epoch: a batch is that share of compounds,
        so that the number of steps does not depend on how many there are.
    rate
        Of Adam's steps; it falls to 0 along a cosine.
    decay
        Of the weights, per step and rate (Loshchilov and Hutter 2019, arXiv 1711.05101).
    """

    n_hidden: int = 256
    dropout: float = 0.5
    epochs: int = 20
    batches: int = 10
    rate: float = 6e-3
    decay: float = 5.0


def import_torch() -> Any:
    """PyTorch.

    Raises
    ------
    FluidError
        If it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise FluidError(
            "learner 'multitask' needs PyTorch: pip install 'fluid-federated[torch]'"
        ) from error
    return torch


def fit_network(
    compounds: Compounds,
    labels: LabelMatrix,
    tasks: Sequence[Task],
    seed: int,
    settings: NetworkSettings | None = None,
) -> Network:
    """Fit one network to the labels of all tasks.

    Parameters
    ----------
    compounds
        n compounds; the order of training follows from theirs and the seed.
    labels
        Of shape (n, n_tasks): classes or numbers, bounds by their qualifiers, and weights of the
        losses. Values of a binary task may be probabilities.
    tasks
        Their kinds and weights; each needs a label.
    seed
        Fixes everything random: the result is the same to the byte on one machine.
    settings
        How to train.

    Returns
    -------
    Network
        With the columns of `column_ranges`.

    Raises
    ------
    FluidError
        If PyTorch is not installed.
    """
    torch = import_torch()
    settings = settings or NetworkSettings()
    spread = compounds.descriptors.astype(np.float64).std(axis=0)
    mean = compounds.descriptors.astype(np.float64).mean(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    inputs = network_input(compounds, mean, scale)
    targets = _Targets(labels, tasks)
    with _deterministic(torch):
        trunk, heads = _train(torch, inputs, targets, settings, seed)
    # What the network says in units of standard deviations becomes numbers on the task's scale.
    weights = heads[0] * targets.scale.astype(np.float32)
    bias = heads[1] * targets.scale + targets.shift
    return Network((mean, scale), trunk, (weights, bias.astype(np.float32)))


def column_ranges(tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """First column of each task, and its number of columns: one, or one for each class."""
    counts = [len(task.outputs) for task in tasks]
    starts = np.cumsum([0, *counts]).tolist()
    return list(zip(starts, counts, strict=False))


class _Targets:
    """Labels by compound, as the losses need them.

    Attributes
    ----------
    offsets
        Compound i owns labels ``offsets[i]:offsets[i + 1]``.
    columns, values, signs, weights
        Of each label: its column (the first of its task), standardised value, -1, 0 or 1, and the
        weight of its loss.
    squared, several
        Whether the loss of a label is squared error; and the index of its task if it is of several
        classes, -1 otherwise.
    ranges
        See `column_ranges`.
    start
        What each column says at first, float32 of shape (n_columns,).
    shift, scale
        Of numbers, by column; 0 and 1 for classes.
    """

    def __init__(self, labels: LabelMatrix, tasks: Sequence[Task]) -> None:
        order = np.lexsort((labels.tasks, labels.rows))
        self.ranges = column_ranges(tasks)
        n_columns = sum(self.ranges[-1])
        self.shift, self.scale = np.zeros(n_columns), np.ones(n_columns)
        self.start = np.zeros(n_columns, dtype=np.float32)
        values, weights = labels.values.astype(np.float64), labels.weights.astype(np.float64)
        squared = np.zeros(len(values), dtype=bool)
        several = np.full(len(values), -1)
        by_task = np.argsort(labels.tasks, kind="stable")
        ends = np.searchsorted(labels.tasks[by_task], np.arange(len(tasks) + 1))
        for number, (task, (first, count)) in enumerate(zip(tasks, self.ranges, strict=True)):
            mine = by_task[ends[number] : ends[number + 1]]
            weights[mine] *= task.weight
            if task.kind == "regression":
                signs = labels.qualifiers[mine]
                exact = values[mine][signs == 0] if np.any(signs == 0) else values[mine]
                self.shift[first], self.scale[first] = exact.mean(), exact.std() or 1.0
                values[mine] = (values[mine] - self.shift[first]) / self.scale[first]
                weights[mine] *= censored_weights(signs)
                squared[mine] = True
            elif task.kind == "binary":
                self.start[first] = logit(values[mine].mean(), 1e-3)
            else:
                several[mine] = number
                shares = np.bincount(values[mine].astype(np.int64), minlength=count) / len(mine)
                self.start[first : first + count] = np.log(np.maximum(shares, 1e-3))
        firsts = np.array([first for first, _ in self.ranges])
        self.offsets = np.searchsorted(labels.rows[order], np.arange(labels.shape[0] + 1))
        self.columns = firsts[labels.tasks[order]]
        self.values, self.weights = values[order], weights[order]
        self.signs = labels.qualifiers[order].astype(np.float64)
        self.squared, self.several = squared[order], several[order]

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of these compounds, and the position among them of the compound of each."""
        lengths = np.diff(self.offsets)[rows]
        shifts = self.offsets[rows] - np.concatenate([[0], np.cumsum(lengths)[:-1]])
        place = np.repeat(np.arange(len(rows)), lengths)
        return np.arange(lengths.sum()) + shifts[place], place


def _train(
    torch: Any, inputs: Any, targets: _Targets, settings: NetworkSettings, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the hidden layer and of the outputs, as float32 arrays."""
    generator = torch.Generator().manual_seed(seed)
    n, n_columns = inputs.shape[0], len(targets.start)
    bound = 1.0 / np.sqrt(settings.n_hidden)
    trunk = torch.empty(inputs.shape[1], settings.n_hidden)
    heads = torch.empty(settings.n_hidden, n_columns)
    # He et al. 2015 (arXiv 1502.01852) for as many inputs as a compound has.
    filled = max(inputs.nnz / n, 1.0)
    trunk.normal_(0.0, float(np.sqrt(2.0 / filled)), generator=generator)
    heads.uniform_(-bound, bound, generator=generator)
    trunk_bias = torch.zeros(settings.n_hidden)
    heads_bias = torch.from_numpy(targets.start.copy())
    weights, biases = [trunk, heads], [trunk_bias, heads_bias]
    for each in (*weights, *biases):
        each.requires_grad_()
    optimizer = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": settings.decay},
            {"params": biases, "weight_decay": 0.0},
        ],
        lr=settings.rate,
        fused=True,
    )
    size = max(1, -(-n // settings.batches))
    steps = settings.epochs * -(-n // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(settings.epochs):
        order = torch.randperm(n, generator=generator).numpy()
        for start in range(0, n, size):
            rows = order[start : start + size]
            hidden = torch.relu(_embed(torch, inputs[rows], trunk) + trunk_bias)
            kept = torch.empty_like(hidden).bernoulli_(1.0 - settings.dropout, generator=generator)
            out = (hidden * kept / (1.0 - settings.dropout)) @ heads + heads_bias
            loss: Any = _loss(torch, out, targets, rows) / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    arrays = [each.detach().numpy() for each in (trunk, trunk_bias, heads, heads_bias)]
    return (arrays[0], arrays[1]), (arrays[2], arrays[3])


def _embed(torch: Any, part: Any, weights: torch.Tensor) -> torch.Tensor:
    """Sparse rows times weights."""
    found: torch.Tensor = torch.nn.functional.embedding_bag(
        torch.from_numpy(part.indices.astype(np.int64)),
        weights,
        torch.from_numpy(part.indptr[:-1].astype(np.int64)),
        mode="sum",
        per_sample_weights=torch.from_numpy(part.data),
    )
    return found


def _loss(torch: Any, out: torch.Tensor, targets: _Targets, rows: np.ndarray) -> torch.Tensor:
    """Sum of the losses of the labels of these compounds."""
    chosen, place = targets.of(rows)
    given = out.reshape(-1)[torch.from_numpy(place * out.shape[1] + targets.columns[chosen])]
    value = torch.from_numpy(targets.values[chosen].astype(np.float32))
    weight = torch.from_numpy(targets.weights[chosen].astype(np.float32))
    squared = targets.squared[chosen]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(given, value, reduction="none")
    if squared.any():
        sign = torch.from_numpy(targets.signs[chosen].astype(np.float32))
        residual = value - given
        # A bound has a loss only where it is violated.
        short = torch.where(sign == 0, residual, torch.relu(sign * residual))
        loss = torch.where(torch.from_numpy(squared), short**2, loss)
    several = targets.several[chosen]
    if (several >= 0).any():
        loss = torch.where(torch.from_numpy(several >= 0), torch.zeros_like(loss), loss)
    total = (loss * weight).sum()
    for number in np.unique(several[several >= 0]):
        mine = np.flatnonzero(several == number)
        first, count = targets.ranges[number]
        logits = out[torch.from_numpy(place[mine])][:, first : first + count]
        classes = torch.from_numpy(targets.values[chosen[mine]].astype(np.int64))
        each = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
        total = total + (each * weight[torch.from_numpy(mine)]).sum()
    return total


_lock = Lock()
_inside = 0
_before: tuple[int, bool] = (1, False)


@contextmanager
def _deterministic(torch: Any) -> Iterator[None]:
    """One thread and deterministic algorithms for PyTorch, while anybody is in here.

    Both are settings of the process, and fits run side by side: the first sets them, the last puts
    them back.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
            torch.use_deterministic_algorithms(True)
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                torch.set_num_threads(_before[0])
                torch.use_deterministic_algorithms(_before[1])
