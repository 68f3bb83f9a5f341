"""Check LightGBM's model text before LightGBM reads it.

LightGBM trusts its own format: a child that points outside the tree, or back up it, makes it read
foreign memory or never return. A model that somebody sent is therefore checked first.
"""

from __future__ import annotations

import numpy as np

_SPLITS = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_SCALARS = ("num_leaves", "num_cat", "is_linear", "shrinkage")
_HEADER = frozenset(
    {
        "version",
        "num_class",
        "num_tree_per_iteration",
        "label_index",
        "max_feature_idx",
        "objective",
        "feature_names",
        "feature_infos",
        "monotone_constraints",
        "tree_sizes",
    }
)
_END = "end of trees"


def check_tree_text(text: str, n_features: int) -> None:
    """Make sure that a text is a LightGBM model of plain trees with one output.

    Parameters
    ----------
    text
        What `lightgbm.Booster.model_to_string` gives, with or without its parameters.
    n_features
        Columns of the matrix that the model is to be given.

    Raises
    ------
    ValueError
        If any tree has other than numerical splits, children outside the tree or reached twice,
        features that do not exist, numbers that are not finite, or a stated size that is wrong.
    """
    start = text.find("Tree=0\n")
    end = text.find(f"\n{_END}\n")
    if start < 0 or end < start:
        raise ValueError("the text of the trees is not whole")
    header = _header(text[:start])
    if _integer(header, "max_feature_idx") + 1 != n_features:
        raise ValueError(f"the trees are not of {n_features} features")
    if header["num_class"] != "1" or header["num_tree_per_iteration"] != "1":
        raise ValueError("the trees have more than one output")
    sizes = [int(size) for size in header["tree_sizes"].split()]
    position = start
    for number, size in enumerate(sizes):
        block = text[position : position + size]
        first, _, body = block.partition("\n")
        if size <= 0 or first != f"Tree={number}":
            raise ValueError(f"tree {number} does not begin where it should")
        try:
            _check_tree(body, n_features)
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"tree {number}: {error}") from error
        position += size
    if text[position:].lstrip("\n").partition("\n")[0] != _END:
        raise ValueError("the trees do not end where they should")


def _header(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if not sign and line in ("", "tree", "average_output"):
            continue
        if key not in _HEADER or key in values:
            raise ValueError(f"unexpected line '{line[:40]}' before the trees")
        values[key] = value
    missing = sorted(
        {"num_class", "num_tree_per_iteration", "max_feature_idx", "tree_sizes"} - set(values)
    )
    if missing:
        raise ValueError(f"no line '{missing[0]}' before the trees")
    return values


def _integer(values: dict[str, str], key: str) -> int:
    number = int(values[key])
    if not 0 <= number < 1 << 24:
        raise ValueError(f"{key} = {number} is out of range")
    return number


def _check_tree(body: str, n_features: int) -> None:
    values: dict[str, str] = {}
    for line in body.splitlines():
        key, sign, value = line.partition("=")
        if not line:
            continue
        if not sign or key not in (*_SPLITS, *_LEAVES, *_SCALARS) or key in values:
            raise ValueError(f"unexpected line '{line[:40]}'")
        values[key] = value
    n_leaves = _integer(values, "num_leaves")
    if n_leaves < 1 or int(values["num_cat"]) or int(values.get("is_linear", "0")):
        raise ValueError("only plain trees with numerical splits are allowed")
    n_splits = n_leaves - 1
    for key in _SPLITS:
        _numbers(values, key, n_splits)
    for key in _LEAVES:
        # A tree of one leaf states its value only.
        _numbers(values, key, n_leaves, may_lack=n_leaves == 1 and key != "leaf_value")
    if not n_splits:
        return
    features = _numbers(values, "split_feature", n_splits)
    kinds = _numbers(values, "decision_type", n_splits).astype(np.int64)
    if features.min() < 0 or features.max() >= n_features:
        raise ValueError("a split uses a feature that does not exist")
    if np.any((kinds & 1) != 0) or kinds.min() < 0 or kinds.max() > 15:
        raise ValueError("only numerical splits are allowed")
    _check_children(
        _numbers(values, "left_child", n_splits), _numbers(values, "right_child", n_splits)
    )


def _numbers(values: dict[str, str], key: str, count: int, may_lack: bool = False) -> np.ndarray:
    found = np.array(values.get(key, "").split(), dtype=np.float64)
    if len(found) != count and not (may_lack and not len(found)):
        raise ValueError(f"{key} has {len(found)} numbers instead of {count}")
    if not np.isfinite(found).all():
        raise ValueError(f"{key} holds a number that is not finite")
    return found


def _check_children(left: np.ndarray, right: np.ndarray) -> None:
    """Every split but the root, and every leaf, is reached once, from a split before it."""
    n_splits = len(left)
    children = np.concatenate([left, right])
    if np.any(children != np.round(children)):
        raise ValueError("a child is not a whole number")
    parents = np.tile(np.arange(n_splits), 2)
    inner = children >= 0
    if np.any(children[inner] <= parents[inner]):
        raise ValueError("a child does not come after its parent")
    expected = np.concatenate([np.arange(-n_splits - 1, 0), np.arange(1, n_splits)])
    if not np.array_equal(np.sort(children), expected):
        raise ValueError("a split or leaf is not reached exactly once")
