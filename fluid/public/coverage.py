"""The coverage report: rounded counts of private compounds near each cluster of public ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import (
    FederationError,
    FileFormatError,
    FluidError,
    MismatchError,
    SignatureError,
)
from fluid.base.files import canonical_json, dump_json, read_bounded, sha256_hex, write_json
from fluid.base.schemas import schema_problem
from fluid.base.software import software_versions
from fluid.base.strict_json import json_values
from fluid.exchange.federation import Federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.sealed import Signer
from fluid.exchange.signing import verify_digest
from fluid.public.clusters import Clusters

SCHEMA = "fluid.coverage/1"
_LARGEST_FILE = 1 << 20
_LARGEST_COUNT = 1 << 40
_KEYS = frozenset(
    {
        "schema",
        "federation",
        "protocol",
        "clusters",
        "partner",
        "step",
        "minimum",
        "counts",
        "elsewhere",
        "software",
        "digest",
        "signature",
    }
)


@dataclass(frozen=True)
class Coverage:
    """A coverage report whose digest has been verified.

    Attributes
    ----------
    path
        Where it lies.
    values
        Everything in the file.
    partner
        The partner that the file names.
    counts, elsewhere
        Private compounds nearest to each leader, int64 of shape (k,), and those near none; rounded.
    digest
        SHA-256 of its content, 64 hexadecimal digits.
    signature
        Ed25519 signature of the digest, 64 bytes, or None if it is an unsigned draft.
    """

    path: Path
    values: dict[str, Any]
    partner: str
    counts: np.ndarray
    elsewhere: int
    digest: str
    signature: bytes | None


def check_coverage_allowed(federation: Federation) -> None:
    """Refuse coverage reports where the partners have not agreed to them.

    Raises
    ------
    FederationError
        If the policy does not share coverage.
    """
    if "coverage" not in federation.policy.share:
        raise FederationError(
            f"federation '{federation.name}': policy share = {list(federation.policy.share)} does "
            'not allow coverage reports; all partners must agree to share = ["coverage"] first'
        )


def round_counts(counts: np.ndarray, policy: DisclosurePolicy) -> np.ndarray:
    """Counts as they may leave: multiples of the step, half a step up, and 0 below the minimum.

    Examples
    --------
    >>> round_counts(np.array([0, 9, 10, 14, 15, 1234]), DisclosurePolicy()).tolist()
    [0, 0, 10, 10, 20, 1230]
    """
    step = policy.coverage_step
    rounded = (counts + step // 2) // step * step
    return np.where(counts < policy.coverage_minimum, 0, rounded).astype(np.int64)


def write_coverage(
    path: Path,
    federation: Federation,
    clusters: Clusters,
    partner: str,
    counts: np.ndarray,
    elsewhere: int,
    sign: Signer | None,
) -> str:
    """Write a coverage report, whole or not at all.

    Parameters
    ----------
    path
        The JSON file to appear.
    federation, clusters, partner
        What it reports on, and who does.
    counts, elsewhere
        Already within the disclosure policy, see `round_counts`.
    sign
        Signs the digest; None leaves a draft.

    Returns
    -------
    str
        The digest.
    """
    content = {
        "schema": SCHEMA,
        "federation": federation.name,
        "protocol": federation.protocol,
        "clusters": clusters.digest,
        "partner": partner,
        "step": federation.policy.coverage_step,
        "minimum": federation.policy.coverage_minimum,
        "counts": [int(count) for count in counts],
        "elsewhere": int(elsewhere),
        "software": software_versions(),
    }
    digest = sha256_hex(canonical_json(content))
    signature = sign(bytes.fromhex(digest)).hex() if sign else None
    write_json(path, content | {"digest": digest, "signature": signature})
    return digest


def open_coverage(path: Path) -> Coverage:
    """Open a coverage report and verify its digest.

    The file must be byte for byte as `write_coverage` writes its values: no repeated key, no other
    blanks.

    Raises
    ------
    FileFormatError
        If it is missing, damaged, changed, or not a coverage report.
    """
    values = _read(path)
    problem = schema_problem(values.get("schema"), SCHEMA)
    if problem:
        raise FileFormatError(f"{path}: {problem}")
    if set(values) != _KEYS:
        odd = sorted(set(values) ^ _KEYS)[0]
        what = "is missing" if odd in _KEYS else "is not known"
        raise FileFormatError(f"{path}: key '{odd[:80]}' {what}")
    content = {key: value for key, value in values.items() if key not in ("digest", "signature")}
    if values["digest"] != sha256_hex(canonical_json(content)):
        raise FileFormatError(
            f"{path}: the content does not match its digest; the file was changed or damaged"
        )
    counts = values["counts"]
    if not isinstance(counts, list):
        raise FileFormatError(f"{path}: 'counts' is not a list of whole numbers")
    for number, count in enumerate([*counts, values["elsewhere"]], start=1):
        where = f"cluster {number}" if number <= len(counts) else "elsewhere"
        if type(count) is not int or not 0 <= count < _LARGEST_COUNT:
            raise FileFormatError(
                f"{path}: {where}: {str(count)[:80]}; allowed are whole numbers from 0"
            )
    if not isinstance(values["partner"], str):
        raise FileFormatError(f"{path}: 'partner' is not text")
    signature = _signature(path, values["signature"])
    array = np.array(counts, dtype=np.int64)
    return Coverage(
        path, values, values["partner"], array, values["elsewhere"], values["digest"], signature
    )


def _read(path: Path) -> dict[str, Any]:
    data = read_bounded(path, _LARGEST_FILE)
    try:
        values = json_values(data, _LARGEST_FILE)
        if not isinstance(values, dict):
            raise ValueError("no table of values")
    except ValueError as error:
        raise FileFormatError(f"{path}: is not a readable coverage report ({error})") from error
    if data != (dump_json(values) + "\n").encode():
        raise FileFormatError(
            f"{path}: is not written as fluid writes it; the file was changed or damaged"
        )
    return values


def _signature(path: Path, text: Any) -> bytes | None:
    if text is None:
        return None
    try:
        value = bytes.fromhex(text)
    except (TypeError, ValueError):
        value = b""
    if len(value) != 64 or value.hex() != text:
        raise FileFormatError(f"{path}: the signature is damaged")
    return value


def admit_coverage(
    paths: Sequence[Path], federation: Federation, clusters: Clusters
) -> list[Coverage]:
    """Verify coverage reports: digest, policy, signature, protocol, clusters, and every count.

    Parameters
    ----------
    paths
        One report per partner.
    federation, clusters
        What they must belong to.

    Returns
    -------
    list of Coverage
        Sorted by partner name.

    Raises
    ------
    FluidError
        At the first thing that is wrong, naming the file.
    """
    if paths:
        check_coverage_allowed(federation)
    admitted: dict[str, Coverage] = {}
    for path in paths:
        report = open_coverage(path)
        _check_signature(report, federation)
        _check_identity(report, federation, clusters)
        other = admitted.get(report.partner)
        if other is not None:
            raise MismatchError(
                f"{path}: partner '{report.partner}' has sent {other.path} already; one coverage "
                "report per partner is allowed"
            )
        admitted[report.partner] = report
    return [admitted[name] for name in sorted(admitted)]


def _check_signature(report: Coverage, federation: Federation) -> None:
    try:
        key = federation.public_key(report.partner)
    except FluidError as error:
        raise SignatureError(f"{report.path}: {error}") from error
    if report.signature is None:
        raise SignatureError(
            f"{report.path}: is an unsigned draft; partner '{report.partner}' must sign it"
        )
    if not verify_digest(key, bytes.fromhex(report.digest), report.signature):
        raise SignatureError(
            f"{report.path}: the signature is not of the key registered for partner "
            f"'{report.partner}'"
        )


def _check_identity(report: Coverage, federation: Federation, clusters: Clusters) -> None:
    policy = federation.policy
    expected = {
        "federation": (federation.name, "federation"),
        "protocol": (federation.protocol, "protocol"),
        "clusters": (clusters.digest, "digest of the clusters"),
        "step": (policy.coverage_step, "step"),
        "minimum": (policy.coverage_minimum, "minimum"),
    }
    for key, (wanted, what) in expected.items():
        if report.values[key] != wanted:
            raise MismatchError(
                f"{report.path}: {what} is '{str(report.values[key])[:80]}', but '{wanted}' is "
                "expected"
            )
    if len(report.counts) != len(clusters):
        raise MismatchError(
            f"{report.path}: counts {len(report.counts)} clusters, but {clusters.sealed.path} has "
            f"{len(clusters)}"
        )
    for number, count in enumerate([*report.counts, report.elsewhere], start=1):
        if count % policy.coverage_step:
            where = f"cluster {number}" if number <= len(report.counts) else "elsewhere"
            raise FileFormatError(
                f"{report.path}: {where}: {count}; allowed are multiples of {policy.coverage_step}"
            )
