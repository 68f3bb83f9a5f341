"""Code that runs at the workers of a cluster: one chunk at a time, with what all chunks share."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fluid.base.errors import FluidError, MismatchError
from fluid.base.jobs import single_threaded_blas
from fluid.base.software import software_versions

# Length before compression, and the compressed bytes.
Packed = tuple[int, bytes]


@dataclass(frozen=True)
class Reply:
    """The result of a chunk, or why it was refused; and what kind of processor made it."""

    result: Any = None
    refusal: FluidError | None = None
    processor: str = ""


_one_at_a_time = Lock()
_known: dict[str, Any] = {}
_limited = False


def hold(shared: Packed) -> Packed:
    """Keep what all chunks share at a worker, as the result of a task."""
    return shared


def work(shared: Packed, run: str, item: Packed, expected: dict[str, str]) -> Reply:
    """Compute a chunk, alone in its process: threads would share RDKit's tools and BLAS."""
    with _one_at_a_time:
        try:
            _check_versions(expected)
            function = _recall(run, shared)
            _limit_threads()
            with single_threaded_blas():
                return Reply(function(unpack(item)), processor=processor())
        except FluidError as error:
            # As a value: an exception would be tried again, at another worker perhaps.
            return Reply(refusal=error)


def _recall(run: str, shared: Packed) -> Callable[[Any], Any]:
    """The function of a run, unpacked once per process; that of the run before is dropped."""
    if run not in _known:
        _known.clear()
        _known[run] = unpack(shared)
    return _known[run]


async def forget(run: str) -> None:
    """Drop the function of a run."""
    _known.pop(run, None)


def _check_versions(expected: dict[str, str]) -> None:
    there: dict[str, str | None] = dict(software_versions())
    other = [name for name in expected if there.get(name) != expected[name]]
    if other:
        found = ", ".join(f"{name} {there.get(name)} (here {expected[name]})" for name in other)
        raise MismatchError(
            f"worker {platform.node()}: has other versions: {found}; it needs the same installation"
        )


def _limit_threads() -> None:
    """One thread for BLAS and OpenMP for as long as the worker lives, as in local workers."""
    global _limited
    if not _limited:
        import threadpoolctl

        with single_threaded_blas():
            pass
        threadpoolctl.threadpool_limits(limits=1)
        _limited = True


def processor() -> str:
    """The machine and the kernels that BLAS chose for it, which decide the last bits."""
    # BLAS chooses when it is loaded.
    import numpy as np  # noqa: F401
    import threadpoolctl

    kinds = {str(found.get("architecture", "")) for found in threadpoolctl.threadpool_info()}
    return " ".join([platform.machine(), *sorted(kinds - {""})])


def pack(value: Any) -> Packed:
    """An object as compressed bytes, which the scheduler passes on without looking at them."""
    import pyarrow as pa
    from distributed.protocol.serialize import serialize_bytes

    plain = serialize_bytes(value)
    return len(plain), pa.compress(plain, codec="zstd", asbytes=True)


def unpack(packed: Packed) -> Any:
    import pyarrow as pa
    from distributed.protocol.serialize import deserialize_bytes

    size, content = packed
    return deserialize_bytes(pa.decompress(content, size, codec="zstd"))
