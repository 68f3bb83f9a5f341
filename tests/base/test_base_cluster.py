"""Chunks over real workers: in order, bounded, and without a worker that is lost."""

from __future__ import annotations

import datetime
import operator
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import fluid.base.cluster as module
from fluid.base.cluster import Cluster, open_cluster
from fluid.base.errors import ClusterError, FluidError, MismatchError
from tests.local_cluster import LocalCluster, local_cluster

OTHER = """
import fluid.base.software
fluid.base.software._PACKAGES = ("numpy",)
fluid.__version__ = "9.9"
"""
STALE = """
import distributed.versions as versions
from fluid.base.cluster import _installed

versions._version_cached = lambda name: "1.0" if name == "rdkit" else _installed(name)
"""


@pytest.fixture
def cluster(dask_site: LocalCluster) -> Iterator[Cluster]:
    with open_cluster(dask_site.address) as made:
        assert made is not None
        yield made


def nap(seconds: float) -> tuple[int, float]:
    time.sleep(seconds)
    return os.getpid(), seconds


def refuse(number: int) -> int:
    if number == 3:
        raise FluidError("row 3: is not allowed")
    return number


def fail(number: int) -> float:
    return 1 / number


def weigh(shared: np.ndarray, number: int) -> float:
    return float(shared.sum()) + number


def test_results_come_in_order_from_several_processes(cluster: Cluster) -> None:
    naps = [0.2, 0.0, 0.1, 0.0, 0.05, 0.0, 0.1, 0.0]
    found = list(cluster.map(nap, naps))
    assert [seconds for _, seconds in found] == naps
    pids = {pid for pid, _ in found}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_no_items_are_no_results(cluster: Cluster) -> None:
    assert list(cluster.map(operator.neg, [])) == []


def test_what_is_shared_reaches_every_chunk(cluster: Cluster) -> None:
    shared = np.arange(300_000, dtype=np.float64)
    found = list(cluster.map(partial(weigh, shared), range(50)))
    assert found == [shared.sum() + number for number in range(50)]


def test_items_are_drawn_a_few_ahead_of_results(cluster: Cluster) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(1, 1001):
            drawn = number
            yield number

    results = cluster.map(operator.neg, items())
    for number in range(1, 6):
        assert next(results) == -number
        assert drawn <= number + module._LEAST_AHEAD
    results.close()  # type: ignore[attr-defined]


def test_a_refusal_is_raised_here_and_an_error_too(cluster: Cluster) -> None:
    with pytest.raises(FluidError, match=r"row 3: is not allowed"):
        list(cluster.map(refuse, range(10)))
    with pytest.raises(ZeroDivisionError):
        list(cluster.map(fail, [1, 0]))
    assert list(cluster.map(fail, [1, 2])) == [1.0, 0.5]


def test_a_killed_worker_costs_its_chunk_only(dask_site: LocalCluster, cluster: Cluster) -> None:
    with dask_site.victim() as killed:
        found = list(cluster.map(nap, [0.02] * 60))
        assert killed.wait(60)
    assert len(found) == 60


@pytest.mark.long
def test_a_chunk_that_ends_workers_is_one_line(tmp_path: Path) -> None:
    patience = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with local_cluster(tmp_path / "dask", "one", "two", "three", **patience) as site:
        with open_cluster(site.address) as cluster:
            assert cluster is not None
            with pytest.raises(ClusterError, match="a chunk was on several workers that were lost"):
                list(cluster.map(os._exit, [1]))
        assert sorted(process.poll() is None for process in site.processes.values()) == [
            False, False, True, True,
        ]  # fmt: skip


def test_a_worker_of_another_version_is_refused(tmp_path: Path) -> None:
    """By what is installed when the run starts, by what it runs when it gets its first chunk."""
    with local_cluster(tmp_path / "dask") as other:
        other.worker("odd", preload=OTHER)
        with open_cluster(other.address) as cluster:
            assert cluster is not None
            with pytest.raises(MismatchError, match=r"fluid 9\.9 \(here 0\.1\.0\)") as told:
                list(cluster.map(operator.neg, range(5)))
        other.worker("stale", preload=STALE)
        other.wait_for_workers(2)
        message = r"^worker tcp://[0-9.:]+: has other versions: rdkit 1\.0 \(here "
        with pytest.raises(MismatchError, match=message), open_cluster(other.address):
            pass
    assert "rdkit None (here" in str(told.value)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"rdkit": "1"}, r"^worker x: has other versions: rdkit 1 \(here 2\); it needs the same"),
        ({"fluid-federated": None}, "^worker x: has no fluid-federated; it needs the same"),
        ({"python": "3.9"}, r"python 3\.9 \(here 3\.11\)"),
    ],
)
def test_versions_are_compared(there: dict[str, str | None], message: str) -> None:
    here: dict[str, str | None] = {"fluid-federated": "0.1.0", "rdkit": "2", "python": "3.11"}
    module._compare("worker x", dict(here), here)
    with pytest.raises(MismatchError, match=message):
        module._compare("worker x", here | there, here)


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:8786", "http://host:8786", "tcp://host", "tcp://host:0", "tcp://:8786",
     "tcp://host:99999", "tcp://host:8786/", "tcp://ho st:8786", "tcp://host:8786\n"],
)  # fmt: skip
def test_a_malformed_address_is_refused(address: str) -> None:
    message = "is not an address; allowed are such as tcp://host:8786"
    with pytest.raises(ClusterError, match=message), open_cluster(address):
        pass


def test_no_address_is_no_cluster() -> None:
    with open_cluster(None) as cluster:
        assert cluster is None


def make_certificate(folder: Path) -> None:
    """A key and a certificate that is its own authority, for scheduler, worker and client."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.mark.long
def test_an_encrypted_cluster_by_dasks_own_configuration(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    options = (
        "--tls-ca-file",
        files["cert"],
        "--tls-cert",
        files["cert"],
        "--tls-key",
        files["key"],
    )
    site = LocalCluster(tmp_path / "dask")
    site.folder.mkdir()
    try:
        site.scheduler("--protocol", "tls", *options)
        assert site.address.startswith("tls://127.0.0.1:")
        site.worker("one", "--protocol", "tls", *options)
        secure = {
            "distributed.comm.tls.ca-file": files["cert"],
            "distributed.comm.tls.client.cert": files["cert"],
            "distributed.comm.tls.client.key": files["key"],
        }
        with dask.config.set(secure), open_cluster(site.address) as cluster:
            assert cluster is not None
            assert list(cluster.map(operator.neg, range(5))) == [0, -1, -2, -3, -4]
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(ClusterError, match="cannot be reached"),
            open_cluster(site.address),
        ):
            pass
    finally:
        site.close()
