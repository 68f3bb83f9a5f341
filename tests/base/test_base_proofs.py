"""What was computed on this machine: kept for its user, and believed from nobody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fluid.base.proofs import Proofs, cache_folder

BASIS = {"rdkit": "2026.9.1"}
DIGEST = "5a" * 32


def kept(folder: Path, *digests: str) -> Path:
    """The file that holds some proofs."""
    proofs = Proofs(BASIS, folder)
    for digest in digests:
        proofs.add(digest)
    proofs.save()
    (path,) = folder.glob("computed-*")
    return path


def test_proofs_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "cache"
    path = kept(folder, DIGEST)
    assert DIGEST in Proofs(BASIS, folder)
    assert "a5" * 32 not in Proofs(BASIS, folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {item.stat().st_mode & 0o777 for item in (path, folder / "secret")} == {0o600}


def test_other_settings_or_versions_prove_nothing(tmp_path: Path) -> None:
    path = kept(tmp_path / "cache", DIGEST)
    other = {"rdkit": "2027.3.1"}
    assert DIGEST not in Proofs(other, tmp_path / "cache")
    # Nor does a file under the name of another.
    kept_elsewhere = Proofs(other, tmp_path / "cache")
    kept_elsewhere.add("a5" * 32)
    kept_elsewhere.save()
    (theirs,) = set((tmp_path / "cache").glob("computed-*")) - {path}
    shutil.copy(path, theirs)
    assert DIGEST not in Proofs(other, tmp_path / "cache")


def test_runs_side_by_side_keep_the_proofs_of_both(tmp_path: Path) -> None:
    one, two = Proofs(BASIS, tmp_path / "cache"), Proofs(BASIS, tmp_path / "cache")
    one.add("11" * 32)
    two.add("22" * 32)
    one.save()
    two.save()
    found = Proofs(BASIS, tmp_path / "cache")
    assert "11" * 32 in found
    assert "22" * 32 in found


def test_a_forged_file_proves_nothing(tmp_path: Path) -> None:
    theirs = kept(tmp_path / "theirs", DIGEST)
    mine = kept(tmp_path / "mine", "11" * 32)
    # Made with another secret, changed, cut, and not even text.
    good = mine.read_bytes()
    added = good + b"\n" + DIGEST.encode()
    for content in (theirs.read_bytes(), added, DIGEST.encode(), b"", b"\xff\xfe", good[:-1]):
        mine.write_bytes(content)
        found = Proofs(BASIS, tmp_path / "mine")
        assert DIGEST not in found
        assert "11" * 32 not in found
    mine.write_bytes(good)
    assert "11" * 32 in Proofs(BASIS, tmp_path / "mine")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_folder_that_others_reach_is_not_used(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    kept(folder, DIGEST)
    folder.chmod(mode)
    proofs = Proofs(BASIS, folder)
    assert DIGEST not in proofs
    assert "must belong to this user alone" in caplog.text
    proofs.add(DIGEST)
    proofs.save()
    assert DIGEST in proofs


def test_a_secret_that_others_read_or_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    kept(tmp_path / "cache", DIGEST)
    secret = tmp_path / "cache" / "secret"
    secret.chmod(0o644)
    assert DIGEST not in Proofs(BASIS, tmp_path / "cache")
    secret.chmod(0o600)
    assert DIGEST in Proofs(BASIS, tmp_path / "cache")
    secret.rename(tmp_path / "elsewhere")
    secret.symlink_to(tmp_path / "elsewhere")
    assert DIGEST not in Proofs(BASIS, tmp_path / "cache")


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    proofs = Proofs(BASIS, tmp_path / "file" / "cache")
    proofs.add(DIGEST)
    proofs.save()
    assert DIGEST in proofs


def test_the_folder_is_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fluid"
    # A relative path would lie in whatever folder the command is started in.
    for relative in ("", "round1"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == Path.home() / ".cache" / "fluid"
