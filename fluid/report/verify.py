"""Walk the lineage of what came out of a round, and check every link.

    student <- federated set <- annotations <- public set <- federation

Files are found by the digests that others state of them, wherever they lie. The chain hangs on the
federation file: its coordinator's key signs report, federated set, student and public set, its
partners' keys sign the annotations, and the report states the digest of the federation file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import read_json, sha256_file
from fluid.base.schemas import schema_problem
from fluid.central.distill import FEDERATED_FILE, REPORT_FILE, REPORT_SCHEMA, STUDENT_FOLDER
from fluid.central.intake import admit, admitted_chunks
from fluid.exchange.base_student import load_student
from fluid.exchange.coordinator import (
    REPORT_SIGNATURE,
    check_folder_files,
    check_signed_by_coordinator,
)
from fluid.exchange.federated_set import FederatedSet, open_federated
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, check_columns_of_compounds, open_public_set
from fluid.exchange.sealed import open_sealed, stated_digest
from fluid.learn.measured import MEASURED_FILE
from fluid.learn.model_file import MODEL_FILE, load_card
from fluid.learn.storage import load_measured, load_model

HOLDS, BROKEN, ABSENT = "holds", "BROKEN", "not at hand"
_FEDERATION_FILE = "federation.toml"
_ROUND_FILES = frozenset({REPORT_FILE, REPORT_SIGNATURE.name, FEDERATED_FILE, STUDENT_FOLDER})
_HYBRID_FILES = frozenset({MODEL_FILE, MEASURED_FILE, "rejects.csv", "own", STUDENT_FOLDER})


@dataclass(frozen=True)
class Link:
    """One link of a lineage.

    Attributes
    ----------
    what
        What kind of file it is.
    path, digest
        Where it lies, and its digest, as far as they are known.
    bound_by
        What states its digest or has signed it.
    status
        ``"holds"``, ``"BROKEN"``, or ``"not at hand"`` for another partner's annotation.
    problem
        Why it does not hold.
    """

    what: str
    path: str
    digest: str
    bound_by: str
    status: str = HOLDS
    problem: str = ""

    def to_dict(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Places:
    """Where the files of a lineage lie that are not in the folder that is verified.

    Attributes
    ----------
    federation
        The federation file; by default ``federation.toml`` of the folder in `around`.
    around
        A folder that is searched, with its folders, for whatever is not given. By default the one
        that holds the folder to be verified.
    public
        The public set.
    annotations
        Annotations that lie elsewhere.
    partner
        Who verifies: only this partner's annotation must be at hand. By default all must be.
    """

    federation: Path | str | None = None
    around: Path | str | None = None
    public: Path | str | None = None
    annotations: Sequence[Path | str] = ()
    partner: str | None = None


def verify(folder: Path | str, places: Places | None = None) -> list[Link]:
    """Check the lineage of a round, a student or a hybrid, up to the first link that is broken.

    Parameters
    ----------
    folder
        The folder that ``fluid distill`` wrote, its ``student``, a hybrid's folder, or a folder
        that holds such folders.
    places
        Where the other files lie.

    Returns
    -------
    list of Link
        In the order in which they were checked. If one does not hold, it is the last.

    Raises
    ------
    FluidError
        If there is nothing to verify in `folder`.
    """
    folder, places = Path(folder), places or Places()
    if not folder.is_dir():
        raise FileFormatError(f"{folder}: no such folder")
    if folder.name == STUDENT_FOLDER and (folder.parent / REPORT_FILE).is_file():
        folder = folder.parent
    targets, around = _targets(folder)
    walk = _Walk(places, Path(places.around or around))
    with suppress(_BrokenLink):
        walk.federation_file()
        for target in targets:
            if (target / REPORT_FILE).is_file():
                walk.round(target)
            else:
                walk.hybrid(target)
    return walk.links


def _targets(folder: Path) -> tuple[list[Path], Path]:
    """Rounds and hybrids to verify, and the folder around them."""
    above = folder.parent if folder.name else folder.absolute().parent
    if (folder / REPORT_FILE).is_file():
        return [folder], above
    if (folder / MODEL_FILE).is_file():
        kind = load_card(folder).kind
        if kind != "hybrid":
            raise FluidError(
                f"{folder}: is a {kind} without its round; name the folder that fluid distill "
                "wrote, or a hybrid's"
            )
        return [folder], above.parent if above.name else above.absolute().parent
    rounds = [path.parent for path in sorted(folder.glob(f"*/{REPORT_FILE}"))]
    models = [path.parent for path in sorted(folder.glob(f"*/*/{MODEL_FILE}"))]
    hybrids = [path for path in models if _is_hybrid(path)]
    if not rounds + hybrids:
        raise FluidError(f"{folder}: holds neither a round nor a hybrid")
    return rounds + hybrids, folder


def _is_hybrid(folder: Path) -> bool:
    return (folder / "own").is_dir() and (folder / STUDENT_FOLDER).is_dir()


class _BrokenLink(Exception):
    """Ends the walk."""


class _Walk:
    """Collects links; what was checked once is not checked again.

    Parameters
    ----------
    places
        As given.
    around
        The folder that is searched.
    """

    def __init__(self, places: Places, around: Path) -> None:
        self.places = places
        self.around = around
        self.links: list[Link] = []
        self.public: dict[str, PublicSet] = {}
        self.rounds: set[Path] = set()
        self.federation: Federation

    @contextmanager
    def _link(
        self, what: str, path: Path | None, bound_by: str, digest: str = ""
    ) -> Iterator[None]:
        """Enter a link: broken if the block raises, as one that holds otherwise."""
        shown = "" if path is None else str(path)
        try:
            yield
        except FluidError as error:
            self.links.append(Link(what, shown, digest, bound_by, BROKEN, str(error)))
            raise _BrokenLink from error
        self.links.append(Link(what, shown, digest, bound_by))

    @property
    def _signed(self) -> str:
        return "signature of the coordinator" if self.federation.coordinator else "no signature"

    def federation_file(self) -> None:
        """Load the federation file, on which everything hangs."""
        path = Path(self.places.federation or self.around / _FEDERATION_FILE)
        with self._link("federation", path, "trusted, as given", _digest_of(path)):
            self.federation = load_federation(path)

    def round(self, folder: Path) -> None:
        """Check a round, and those that it starts from."""
        if folder.resolve() in self.rounds:
            return
        self.rounds.add(folder.resolve())
        report = self._report(folder)
        trusted = self.federation
        self.federation = self._contract(folder, report)
        received = self._federated_set(folder, report)
        self._student(folder / STUDENT_FOLDER, report, received)
        self._annotations(received, report, self._public_set(received))
        self.federation = trusted
        base = received.sealed.manifest.get("base_student")
        if base:
            self.round(self._round_of(base, f"federated set of {folder.name}"))

    def _report(self, folder: Path) -> dict[str, Any]:
        path, federation = folder / REPORT_FILE, self.federation
        report: dict[str, Any] = {}
        with self._link("report", path, self._signed, _digest_of(path)):
            REPORT_SIGNATURE.check(path, federation)
            found = read_json(path)
            stated = found.get("schema") if isinstance(found, dict) else None
            problem = schema_problem(stated, REPORT_SCHEMA)
            if problem:
                raise FileFormatError(f"{path}: {problem}")
            report = found
            foreign = sorted({item.name for item in folder.iterdir()} - _ROUND_FILES)
            if foreign:
                raise FileFormatError(f"{folder / foreign[0]}: is not a file of a round")
            for key in ("tasks", "annotations", "releases"):
                if not isinstance(report.get(key), dict):
                    raise FileFormatError(f"{path}: '{key}' must be a table")
            _same(path, "federation", report.get("federation"), federation.name)
        return report

    def _contract(self, folder: Path, report: dict[str, Any]) -> Federation:
        """The federation of a round: as given, or an earlier file that the coordinator vouches for.

        Partners may have been registered since, or another round begun.
        """
        given, stated = self.federation, report.get("federation_file")
        assert given.path is not None
        path = given.path
        if given.coordinator:
            places = sorted([*self.around.glob("*.toml"), *self.around.glob("*/*.toml")])
            path = next((one for one in [path, *places] if _digest_of(one) == stated), path)
        with self._link("federation", path, f"{folder.name}/{REPORT_FILE}", _digest_of(path)):
            if stated != sha256_file(path):
                raise MismatchError(
                    f"{path}: is not the file that {folder} was distilled with, whose digest is "
                    f"{str(stated)[:12]}; if it was extended since, put the file of then beside it"
                )
            found = load_federation(path)
            for key in ("name", "coordinator"):
                _same(path, key, getattr(found, key), getattr(given, key))
            for key in ("round", "protocol"):
                _same(folder / REPORT_FILE, key, report.get(key), getattr(found, key))
        return found

    def _federated_set(self, folder: Path, report: dict[str, Any]) -> FederatedSet:
        path = folder / FEDERATED_FILE
        bound = f"{folder.name}/{REPORT_FILE}, {self._signed}"
        with self._link("federated set", path, bound, str(report.get("federated_set"))[:64]):
            received = open_federated(path)
            received.check(self.federation)
            received.load()
            _same(path, "digest", received.sealed.digest, report.get("federated_set"))
            names = [task.name for task in received.tasks]
            _same(path, "tasks", sorted(names), sorted(report["tasks"]))
            for key in ("public_set", "annotations", "base_student"):
                _same(path, key, received.sealed.manifest.get(key), report.get(key))
        return received

    def _student(self, folder: Path, report: dict[str, Any], received: FederatedSet) -> None:
        digest = _digest_of(folder / MODEL_FILE)
        bound = f"{folder.parent.name}/{REPORT_FILE}, {self._signed}"
        with self._link("student", folder, bound, digest):
            student = load_student(folder, self.federation)
            _same(folder, "digest of model.json", digest, report.get("student"))
            source = student.card.training.get("federated_set")
            _same(folder, "federated set", source, received.sealed.digest)
            base = student.card.training.get("base_student")
            _same(folder, "base student", base, report.get("base_student"))

    def _public_set(self, received: FederatedSet) -> PublicSet:
        digest = received.sealed.manifest["public_set"]
        if digest not in self.public:
            given = self.places.public
            path = Path(given) if given else self._find(digest)
            bound = f"federated set, {self._signed}"
            with self._link("public set", path, bound, digest):
                if path is None:
                    raise FluidError(self._nowhere("public set", digest, "--public"))
                found = open_public_set(path)
                _same(path, "digest", found.digest, digest)
                check_signed_by_coordinator(found.sealed, self.federation)
                _same(path, "protocol", found.sealed.manifest["protocol"], self.federation.protocol)
                check_columns_of_compounds(found.sealed, self.federation)
                for _ in found.chunks():
                    pass
                self.public[digest] = found
        return self.public[digest]

    def _annotations(
        self, received: FederatedSet, report: dict[str, Any], public: PublicSet
    ) -> None:
        for partner, digest in sorted(received.sealed.manifest["annotations"].items()):
            path = self._find(digest)
            what, bound = f"annotation of {partner}", "federated set, signature of the partner"
            if path is None and self.places.partner not in (None, partner):
                self.links.append(Link(what, "", digest, bound, ABSENT))
                continue
            with self._link(what, path, bound, digest):
                if path is None:
                    raise FluidError(self._nowhere(what, digest, "--annotation"))
                (annotation,) = admit([path], self.federation, public)
                _same(path, "digest", annotation.sealed.digest, digest)
                _same(path, "partner", annotation.partner, partner)
                base = received.sealed.manifest.get("base_student")
                _same(path, "base student", annotation.base_student, base)
                release = report["releases"].get(partner)
                _same(path, "release", annotation.release.to_dict(), release)
                for _ in admitted_chunks(public, [annotation]):
                    pass

    def hybrid(self, folder: Path) -> None:
        """Check a hybrid's folder, and the rounds of its federated set and of its student."""
        digest = _digest_of(folder / STUDENT_FOLDER / MODEL_FILE)
        with self._link("hybrid", folder, "its own model.json", _digest_of(folder / MODEL_FILE)):
            foreign = sorted({item.name for item in folder.iterdir()} - _HYBRID_FILES)
            if foreign:
                raise FileFormatError(f"{folder / foreign[0]}: is not a file of a hybrid")
            hybrid = load_model(folder)
            load_measured(folder, hybrid)
            for part in ("own", STUDENT_FOLDER):
                check_folder_files(folder / part, {MODEL_FILE})
            _same(folder, "protocol", hybrid.card.protocol, self.federation.protocol)
            source = str(hybrid.card.training.get("federated_set"))
        self.round(self._round_of(digest, f"hybrid {folder}"))
        used = [
            path
            for path in sorted(self.around.glob(f"*/{FEDERATED_FILE}"))
            if _stated(path) == source
        ]
        if not used:
            with self._link("federated set", None, f"hybrid {folder}", source):
                raise FluidError(self._nowhere("federated set", source, "--around"))
        self.round(used[0].parent)

    def _round_of(self, student: str, named_by: str) -> Path:
        """The folder of the round whose student has this digest."""
        for path in sorted(self.around.glob(f"*/{STUDENT_FOLDER}/{MODEL_FILE}")):
            folder = path.parent.parent
            if (folder / REPORT_FILE).is_file() and sha256_file(path) == student:
                return folder
        with self._link("student", None, named_by, student):
            raise FluidError(self._nowhere("student", student, "--around"))
        raise AssertionError

    def _find(self, digest: str) -> Path | None:
        """A file that states this digest; one that is signed if there are several."""
        places = [Path(path) for path in self.places.annotations]
        places += sorted([*self.around.glob("*.parquet"), *self.around.glob("*/*.parquet")])
        found = [path for path in places if _stated(path) == digest]
        # A draft states the same digest as the annotation that was signed.
        return next((path for path in found if not _is_unsigned(path)), next(iter(found), None))

    def _nowhere(self, what: str, digest: str, option: str) -> str:
        return (
            f"{self.around}: no file states the digest {digest[:12]}... of the {what}; it was "
            f"changed, or lies elsewhere: name it with {option}"
        )


def _same(path: Path, what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise MismatchError(f"{path}: {what} is {_short(found)}, but {_short(wanted)} is expected")


def _short(value: Any) -> str:
    text = str(value)
    return f"'{text[:12]}...'" if len(text) >= 64 else f"'{text}'"


def _digest_of(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _stated(path: Path) -> str | None:
    with suppress(FluidError, OSError):
        return stated_digest(path)
    return None


def _is_unsigned(path: Path) -> bool:
    with suppress(FluidError, OSError):
        return open_sealed(path, None).signature is None
    return False
