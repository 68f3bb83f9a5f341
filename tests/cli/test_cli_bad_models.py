"""Keys, model folders and rounds that do not belong together: one clear line each."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from fluid.learn.storage import load_model
from tests.cli.cli_site import Site, done
from tests.cli.refusals import unharmed

HEADER = "id,smiles,bbb,logbb\n"
GARBAGE = random.Random(3).randbytes(5000)


def test_keys_are_never_overwritten(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    done("keygen", "aurora", "-o", keys)
    assert (keys / "aurora.key").stat().st_mode & 0o077 == 0
    error = unharmed(tmp_path, "keygen", "aurora", "-o", keys)
    assert f"{keys / 'aurora.key'}: exists; a key is never overwritten" in error
    (keys / "aurora.key").unlink()
    assert "aurora.pub: exists" in unharmed(tmp_path, "keygen", "aurora", "-o", keys)
    assert "cannot make this folder" in unharmed(tmp_path, "keygen", "x", "-o", site.federation)


def test_keygen_that_cannot_register_leaves_no_keys(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    arguments = ("keygen", "aurora", "-o", tmp_path / "new" / "keys", "-f", federation)
    error = unharmed(tmp_path, *arguments)
    assert "partner 'aurora' is registered with another key" in error


def test_register_refuses_what_is_no_public_key(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    (tmp_path / "bad.pub").write_text("hello\n")
    (tmp_path / "bytes.pub").write_bytes(GARBAGE)
    short = site.key("aurora").with_suffix(".pub").read_text()[:-6]
    (tmp_path / "short.pub").write_text(short)
    (tmp_path / "draco.pub").write_text(site.key("aurora").with_suffix(".pub").read_text())
    for name, message in {
        "bad.pub": "'hello' is not a public key; expected 'ed25519:' and base64",
        "bytes.pub": "is not a public key",
        "short.pub": "is not a public key",
        "none.pub": "cannot be read as a public key (No such file or directory)",
        "draco.pub": "partner 'draco' is registered with another key",
    }.items():
        error = unharmed(tmp_path, "register", tmp_path / name, "-f", federation)
        assert message in error
    # One key is one partner: its annotations would count twice.
    draco = site.key("draco").with_suffix(".pub")
    error = unharmed(tmp_path, "register", draco, "--partner", "shadow", "-f", federation)
    assert f"{draco} is the key of partner 'draco'; 'shadow' needs its own" in error
    by_hand = tmp_path / "by-hand.toml"
    twice = f'\n[partners.shadow]\npublic_key = "{draco.read_text().strip()}"\n'
    by_hand.write_text(federation.read_text() + twice)
    error = unharmed(tmp_path, "inspect", by_hand)
    assert "partners 'draco' and 'shadow' have the same public key" in error
    # A public key that is there already is no error, and no second entry.
    done("register", site.key("draco").with_suffix(".pub"), "-f", federation)
    assert federation.read_bytes() == site.federation.read_bytes()


def test_a_private_key_is_never_shown(site: Site, tmp_path: Path) -> None:
    secret = site.key("aurora").read_text().splitlines()[1]
    copy = tmp_path / "aurora.pub"
    copy.write_text(site.key("aurora").read_text())
    text = site.federation.read_text()
    public = site.key("aurora").with_suffix(".pub").read_text().strip()
    federation = tmp_path / "f.toml"
    federation.write_text(text.replace(public, site.key("aurora").read_text().replace("\n", " ")))
    for arguments in (
        ["register", site.key("aurora"), "-f", site.federation],
        ["register", copy, "-f", site.federation],
        ["inspect", site.key("aurora")],
        ["inspect", copy],
        ["inspect", federation],
    ):
        error = unharmed(tmp_path, *arguments)
        assert "private key" in error
        assert secret[:20] not in error
        assert secret[-20:] not in error


def test_a_partner_that_cannot_be_added_at_the_end(site: Site, tmp_path: Path) -> None:
    text = site.federation.read_text()
    head, _, tail = text.partition("[partners.aurora]")
    key = tail.split('"')[1]
    path = tmp_path / "federation.toml"
    path.write_text(f'partners = {{ aurora = {{ public_key = "{key}" }} }}\n' + head)
    done("inspect", path)
    error = unharmed(tmp_path, "register", site.key("draco").with_suffix(".pub"), "-f", path)
    assert f"{path}: partner 'draco' cannot be added at the end" in error
    assert "add it by hand" in error


def test_keys_that_cannot_sign(site: Site, tmp_path: Path) -> None:
    loose = Path(shutil.copy(site.key("aurora"), tmp_path / "loose.key"))
    loose.chmod(0o644)
    empty = tmp_path / "empty.key"
    empty.touch(mode=0o600)
    for key, message in {
        loose: "others may read this private key; make it owner-only with chmod 600",
        empty: "holds no private key",
        site.key("draco"): "is not the key that federation 'trial' has registered for partner 'au",
        site.key("aurora").with_suffix(".pub"): "holds no private key",
        tmp_path / "none.key": "cannot read the private key (No such file or directory)",
        tmp_path: "cannot read the private key (Is a directory)",
    }.items():
        error = unharmed(tmp_path, *site.annotate(tmp_path / "a.parquet", "--key", key))
        assert f"{key}: {message}" in error


# Models


def test_a_teacher_is_not_replaced_by_another_partners(site: Site, tmp_path: Path) -> None:
    teacher = Path(shutil.copytree(site.teacher("aurora"), tmp_path / "teacher"))
    draco = [*site.train(teacher, site.table("draco")), "--partner", "draco"]
    error = unharmed(tmp_path, *draco)
    assert f"{teacher}: holds the teacher of 'aurora', which is not replaced by a" in error
    assert "teacher of 'draco'; name a new folder" in error
    assert "by a reference of 'aurora'" in unharmed(tmp_path, *site.train(teacher), "--reference")


def test_a_round_states_the_digest_of_its_student(site: Site, tmp_path: Path) -> None:
    report = json.loads((site.student.parent / "report.json").read_text())
    shown = json.loads(done("inspect", site.student, "--json").stdout)
    assert shown["digest"] == report["student"]
    assert shown["digest"] in done("inspect", site.student).stdout
    edited = Path(shutil.copytree(site.student, tmp_path / "student"))
    text = (edited / "model.json").read_text()
    (edited / "model.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    assert json.loads(done("inspect", edited, "--json").stdout)["digest"] != report["student"]


def test_a_hybrid_has_the_folds_of_its_own_teacher(site: Site, tmp_path: Path) -> None:
    blend = [*site.blend(tmp_path / "h"), "--partner", "aurora"]
    error = unharmed(tmp_path, *blend, "--teacher", site.teacher("draco"))
    assert "draco/teacher: is of partner 'draco', but 'aurora' is needed" in error
    error = unharmed(tmp_path, *blend, "--teacher", site.student)
    assert "is of kind 'student', but 'teacher' is needed" in error


def test_a_damaged_model_folder(site: Site, tmp_path: Path) -> None:
    models = {
        "teacher": (site.teacher("aurora"), ("model.json", "arrays.npz", "library.parquet")),
        "student": (site.student, ("arrays.npz", "library.parquet")),
        "hybrid": (site.hybrid("aurora"), ("own/model.json", "student/arrays.npz", "own/arr*")),
    }

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-7])

    for kind, (source, patterns) in models.items():
        for pattern in patterns:
            for harm in (Path.unlink, cut, flip):
                if (pattern, harm) == ("model.json", flip):
                    continue  # a change that leaves it JSON is not told from another model
                copy = tmp_path / kind
                shutil.copytree(source, copy)
                path = next(copy.glob(pattern))
                harm(path)
                error = unharmed(tmp_path, "predict", copy, site.external, "-o", tmp_path / "o.csv")
                assert error.startswith(f"error: {path}: "), (pattern, harm)
                shutil.rmtree(copy)


def test_a_hostile_model_file_is_refused_in_one_line(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    done(*site.train(folder, None, "--learner", "logistic", "--folds", 3, "--repeats", 1))
    path = folder / "model.json"
    text = path.read_text()
    values = json.loads(text)
    one = json.dumps(values["tasks"][0]["members"][0]["estimators"][0])
    empty = {"kind": "average", "params": {"classification": True}, "arrays": {}}
    nested = '{"kind": "average", "params": {}, "arrays": {}, "parts": {"a": ' * 300

    def edited(*place: object, value: object) -> str:
        made = json.loads(text)
        owner = made
        for key in place[:-1]:
            owner = owner[key]
        owner[place[-1]] = value
        return json.dumps(made)

    member = ("tasks", 0, "members", 0)
    hostile = {
        text.replace('"round": 1', '"round": ' + "9" * 5000, 1): "a whole number of 5000",
        text.replace('"threshold": 0.', '"threshold": 1e999, "a": 0.', 1): "inf: a finite number",
        text.replace('"threshold": 0.', '"threshold": NaN, "a": 0.', 1): "nan: a finite number",
        text.replace('"name": "aurora"', '"name": "\\ud800"', 1): "half a character",
        text.replace('"round": 1', '"round": 1, "round": 1', 1): "key 'round' occurs twice",
        json.dumps(values).replace(one, nested + one + "}}" * 300, 1): "nested more than 32 deep",
        text + " " * (8 << 20): "at most 8,388,608 are allowed",
        edited("tasks", value="all"): "tasks = 'all': a list is needed",
        edited("tasks", value=[]): "there is no task",
        edited("card", value="mine"): "'card' must be a table",
        edited("card", "kind", value="oracle"): "card.kind = 'oracle'; allowed are teacher",
        edited("files", value=[]): "files = []: a table is needed",
        edited("files", "trees/a.txt", value="0" * 64): "'trees/a.txt' is not a file of a model",
        edited("files", "arrays.npz", value=7): "does not match its digest",
        edited("more", value=1): "unknown key 'more'",
        edited("tasks", 0, "members", value=[]): "a task has no members",
        edited(*member, "estimators", value=[]): "0 estimators and 1 calibrations of 1 outputs",
        edited(*member, "calibrations", value=[]): "1 estimators and 0 calibrations of 1 outputs",
        edited(*member, "calibrations", value=[["1.0", 0]]): "'1.0': a finite number is needed",
        edited(*member, "estimators", 0, value=empty | {"parts": {}}): "an average of nothing",
        edited(*member, "reliability", value=[1.0, 1.5]): "reliability 1, 1.5 is out of range",
        edited("tasks", 0, "rows", value="none"): "array 'none' is missing, or used twice",
        edited("tasks", 0, "threshold", value=2): "threshold 2 is not between 0 and 1",
    }  # fmt: skip
    for content, message in hostile.items():
        assert content != text, message
        path.write_text(content)
        error = unharmed(tmp_path, "predict", folder, site.external, "-o", tmp_path / "o.csv")
        assert error.startswith(f"error: {folder}")
        assert message in error


def test_a_teacher_without_its_secret_or_contract(site: Site, tmp_path: Path) -> None:
    for name in ("fold.key", "federation.toml"):
        copy = tmp_path / name
        shutil.copytree(site.teacher("aurora"), copy)
        for content in (None, b"", b"\xff", b"00"):
            (copy / name).unlink()
            if content is not None:
                (copy / name).write_bytes(content)
            arguments = site.annotate(tmp_path / "a.parquet", teacher=copy)
            assert str(copy / name) in unharmed(tmp_path, *arguments)
            (copy / name).touch()


def test_folders_that_are_no_model_or_another_kind(site: Site, tmp_path: Path) -> None:
    def annotate(folder: Path) -> list[object]:
        return site.annotate(tmp_path / "a.parquet", teacher=folder)

    assert "holds a student, but a teacher is needed" in unharmed(tmp_path, *annotate(site.student))
    error = unharmed(tmp_path, *annotate(site.hybrid("aurora")))
    assert "holds a hybrid, but a teacher is needed" in error
    for folder in (tmp_path / "none", site.federation, site.folder / "keys"):
        for arguments in (annotate(folder), ["predict", folder, site.external, "-o", "x.csv"]):
            assert unharmed(tmp_path, *arguments).startswith(f"error: {folder}")


def test_models_that_cannot_be_compared(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "federation.toml"
    text = site.federation.read_text()
    other.write_text(text.replace("reliability_step = 0.02", "reliability_step = 0.05"))
    train = site.train(tmp_path / "t")
    train[train.index(site.federation)] = other
    done(*train)
    protocol = load_model(site.student).card.protocol[:12]
    error = unharmed(tmp_path, *site.evaluate()[:2], tmp_path / "t", *site.evaluate()[2:])
    assert f"{tmp_path / 't'}: was made under protocol" in error
    assert f"{site.student} under {protocol}; they cannot be compared" in error
    again = site.student / ".." / "student"
    error = unharmed(tmp_path, *site.evaluate()[:2], again, *site.evaluate()[2:])
    assert "the same model folder was given twice" in error
    assert str(site.student) in error
    # Nor does such a teacher fit the public set, or the other federation file the first teacher.
    error = unharmed(tmp_path, *site.annotate(tmp_path / "a", teacher=tmp_path / "t"))
    assert "was prepared for protocol" in error
    error = unharmed(tmp_path, *site.annotate(tmp_path / "a", "--federation", other))
    assert "was trained for protocol" in error
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federation", other))
    assert "was made under protocol" in error


def test_a_hybrid_needs_the_student_of_its_round(site: Site, tmp_path: Path) -> None:
    done(*site.distill(tmp_path / "other", site.annotations[:2]))
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--student", tmp_path / "other/student"))
    assert f"{tmp_path / 'other' / 'student'}: was distilled from the federated set" in error
    set_of_other = tmp_path / "other" / "federated.parquet"
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federated", set_of_other))
    assert f"{site.student}: was distilled from the federated set" in error
    later = tmp_path / "federation.toml"
    later.write_text(site.federation.read_text().replace("round = 1", "round = 2"))
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federation", later))
    assert f"{site.federated}: round is '1', but '2' is expected" in error
    for wrong, message in {
        site.public: "is a 'fluid.public/1' file, but a 'fluid.federated/2' file is needed",
        site.annotation("aurora"): "is a 'fluid.annotation/2' file",
        site.student / "library.parquet": "carries no seal; it was not written by fluid",
        site.table("aurora"): "is not a Parquet file",
        site.folder: "no such file",
    }.items():
        error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federated", wrong))
        assert f"{wrong}: {message}" in error
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--student", site.teacher("draco")))
    assert "holds a teacher, but a student is needed" in error


# Where results go


def test_a_student_whose_sharpening_cannot_be_read(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.student, tmp_path / "student")
    path = tmp_path / "student" / "model.json"
    values = json.loads(path.read_text())
    for stated, message in (
        ({"bbb": {"base": 1.0}}, "twicing is incomplete ('steps')"),
        ({"bbb": {"base": 0.0, "steps": []}}, "a number of a twicing is not between 0 and 1000"),
        ("much", "card.training.twicing = 'much': a table is needed"),
    ):
        values["card"]["training"]["twicing"] = stated
        path.write_text(json.dumps(values))
        command = site.blend(tmp_path / "h", "--student", tmp_path / "student")
        error = unharmed(tmp_path, *command)
        assert str(tmp_path / "student") in error
        assert message in error


def test_labels_can_be_learned_as_they_are(site: Site, tmp_path: Path) -> None:
    done(*site.distill(tmp_path / "round", None), "--no-twicing")
    report = json.loads((tmp_path / "round" / "report.json").read_text())
    assert [task["twicing"] for task in report["tasks"].values()] == [None, None]
    usual = json.loads((site.student.parent / "report.json").read_text())
    assert any(task["twicing"] for task in usual["tasks"].values())
