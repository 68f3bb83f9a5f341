"""Folders of models, and how a forger would change them."""

import json

import numpy as np

from fluid.base.files import sha256_file
from fluid.learn.calibration import Platt
from fluid.learn.hybrid_model import Decision


def decided(model):
    """What a partner decided on its blend, with a domain that was fitted on calls."""
    domain = model.task_models[0].domains["reliability"]
    assert len(domain.knots_) > 2
    return {"ringn": Decision(Platt(1.5, 0.25), 0.45, domain)}


def change(folder, edit):
    """Change model.json and bring its digests up to date, as a forger would."""
    path = folder / "model.json"
    values = json.loads(path.read_text())
    edit(values)
    for name in values.get("files", {}):
        if (folder / name).is_file():
            values["files"][name] = sha256_file(folder / name)
    path.write_text(json.dumps(values))


def replace_arrays(folder, **changed):
    with np.load(folder / "arrays.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    np.savez(folder / "arrays.npz", **(arrays | changed))
    change(folder, lambda values: None)
