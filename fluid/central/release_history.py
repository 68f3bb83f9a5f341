"""Release numbers of former rounds: each partner must go on from its last, without repeats."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fluid.base.errors import FileFormatError, MismatchError
from fluid.base.files import read_json
from fluid.base.schemas import schema_problem
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.release import Release

SCHEMA = "fluid.report/2"

logger = logging.getLogger(__name__)


def check_releases(admitted: Sequence[AnnotationFile], former: Sequence[Path]) -> None:
    """Compare the releases of annotations with those of former rounds.

    A number that was used for another annotation, or one that has gone back, shows that the
    partner's ledger was restored from a backup. Another ledger belongs to a new teacher folder,
    whose budget began anew: that is only a warning, as the partner may have a reason.

    Parameters
    ----------
    admitted
        Annotations of this round.
    former
        ``report.json`` of former rounds.

    Raises
    ------
    MismatchError
        If a partner's release number does not go up.
    FileFormatError
        If a report cannot be read or states no releases.
    """
    for path in former:
        releases, digests = _read_report(path)
        for annotation in admitted:
            before = releases.get(annotation.partner)
            if before is None or digests.get(annotation.partner) == annotation.sealed.digest:
                continue
            here = annotation.release
            if here.ledger != before.ledger:
                logger.warning(
                    "%s: partner '%s' has another ledger than in %s; its budget began anew",
                    annotation.sealed.path,
                    annotation.partner,
                    path,
                )
            elif here.number <= before.number or here.queries <= before.queries:
                raise MismatchError(
                    f"{annotation.sealed.path}: is release {here.number} of partner "
                    f"'{annotation.partner}', but {path} has release {before.number} already; the "
                    "ledger was restored from a backup"
                )


def _read_report(path: Path) -> tuple[dict[str, Release], dict[str, str]]:
    values = read_json(path)
    problem = schema_problem(values.get("schema") if isinstance(values, dict) else None, SCHEMA)
    if problem:
        raise FileFormatError(f"{path}: {problem}")
    try:
        releases = {
            str(name): Release.from_dict(stated) for name, stated in values["releases"].items()
        }
        digests = {str(name): str(digest) for name, digest in values["annotations"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            f"{path}: is not the report of a round, or states no releases"
        ) from error
    return releases, digests
