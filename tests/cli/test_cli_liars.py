"""A partner that lies within the policy, by the commands: it is named, and left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fluid.exchange.federated_set import open_federated
from tests.cli.cli_site import Site, done, refused, run

LIE = "task bbb, partner aurora (left out): "


def tell(site: Site, path: Path, turned: bool) -> Path:
    """Aurora's annotation with the highest reliability everywhere, signed by aurora."""
    content = site.content()
    for name, change in (
        ("bbb.prediction", lambda p: np.where(p > np.median(p), 0.01, 0.99) if turned else p),
        ("bbb.reliability", lambda r: np.full_like(r, 0.98)),
    ):
        at = content.schema.get_field_index(name)
        values = np.asarray(change(content[name].to_numpy()), dtype=np.float32)
        content = content.set_column(at, content.schema.field(at), pa.array(values))
    return site.forge(path, content)


@pytest.mark.parametrize("turned", [True, False], ids=["turned round", "overstated"])
def test_a_liar_is_named_and_left_out(site: Site, tmp_path: Path, turned: bool) -> None:
    lie = tell(site, tmp_path / "lie.parquet", turned)
    annotations = [lie, *site.annotations[1:]]
    outcome = run(*site.distill(tmp_path / "round", annotations))
    assert outcome.code == 0
    assert f"WARNING: {LIE}" in outcome.stderr
    assert f"look at {LIE}" in outcome.stdout
    assert "LEFT OUT" in outcome.stdout
    report = json.loads((tmp_path / "round" / "report.json").read_text())
    found = [one for one in report["findings"] if one["kind"] == "partner"]
    assert [(one["task"], one["partners"]) for one in found] == [("bbb", ["aurora"])]
    assert report["partners"]["aurora"]["agreement"]["bbb"]["trust"] == 0.0
    federated = open_federated(tmp_path / "round" / "federated.parquet")
    assert federated.trust["bbb"]["aurora"] == 0.0
    _, labels = federated.load()
    done(*site.distill(tmp_path / "without", site.annotations[1:]))
    _, without = open_federated(tmp_path / "without" / "federated.parquet").load()
    assert np.array_equal(labels["bbb"].label, without["bbb"].label, equal_nan=True)


def test_strict_writes_no_round(site: Site, tmp_path: Path) -> None:
    lie = tell(site, tmp_path / "lie.parquet", True)
    error = refused(*site.distill(tmp_path / "round", [lie, *site.annotations[1:]]), "--strict")
    assert LIE in error
    assert not (tmp_path / "round").exists()
    # Honest partners pass.
    done(*site.distill(tmp_path / "honest"), "--strict")
