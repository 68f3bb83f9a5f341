"""A chemically real problem: 160 compounds and whether their ring holds a nitrogen."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.learn.crossfit import CrossFitting, LabelledTask, cross_fit
from fluid.learn.domain import fit_domains
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.predictions import measured_calls
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.storage import save_model
from fluid.learn.task import Task
from tests.learn.folders import decided

RINGS = (
    "n1ccccc1", "c1cncnc1", "c1ccc2ncccc2c1", "n1c[nH]cc1", "C1CCNCC1", "C1CCCN1", "C1COCCN1",
    "c1ccc2[nH]ccc2c1",
    "c1ccccc1", "C1CCCCC1", "s1cccc1", "o1cccc1", "c1ccc2ccccc2c1", "C1CCOCC1", "C1CCCC1",
    "c1ccc2occc2c1",
)  # fmt: skip
# Side chains hold nitrogen too, so that counting nitrogens does not solve the problem.
CHAINS = (
    "CC", "CC(=O)O", "C(=O)NC", "CCN", "C(F)(F)F", "CCO", "C(=O)OCC", "CC#N", "CCSC", "CN(C)C",
)  # fmt: skip
FOLDS = 3
SECRET = bytes(range(32))


@pytest.fixture(scope="session")
def structures():
    made = [standardize(ring + chain, StandardizerSpec()) for ring in RINGS for chain in CHAINS]
    return sorted(made, key=lambda structure: structure.inchikey)


@pytest.fixture(scope="session")
def features():
    return FeatureSpec(bits=512)


@pytest.fixture(scope="session")
def library(structures, features):
    return featurize(structures, [f"c{row}" for row in range(len(structures))], features)


@pytest.fixture(scope="session")
def chemistry(features):
    return Chemistry.here(StandardizerSpec(), features)


@pytest.fixture(scope="session")
def problems(structures):
    """Task and labels by kind."""
    ring_atoms = [
        {atom.GetAtomicNum() for atom in structure.mol.GetAtoms() if atom.IsInRing()}
        for structure in structures
    ]
    nitrogen = np.array([7 in atoms for atoms in ring_atoms])
    other = np.array([7 not in atoms and bool(atoms - {6}) for atoms in ring_atoms])
    weight = np.array([structure.mol.GetNumHeavyAtoms() for structure in structures])
    return {
        "binary": (Task("ringn", "binary"), nitrogen.astype(np.float64)),
        "multiclass": (
            Task("ring", "multiclass", classes=("carbon", "nitrogen", "other")),
            (nitrogen + 2 * other).astype(np.float64),
        ),
        "regression": (Task("size", "regression", low=-50, high=50), weight - 3.0 * nitrogen),
    }


@pytest.fixture(scope="session")
def train(chemistry):
    """Cross-fit labelled compounds into a model of one task."""

    def run(library, task, values, learner, repeats=1, rows=None, jobs=1, kind="teacher"):
        rows = np.arange(len(library)) if rows is None else rows
        folds = folds_of_repeats(library, SECRET, repeats, FOLDS)
        labelled = LabelledTask(library, task, rows, values)
        fitted = cross_fit(labelled, folds, CrossFitting(FOLDS, learner, 7), jobs)
        slope = float(np.mean([member.reliability.slope for member in fitted.models]))
        held_out = measured_calls(task, fitted.predictions, 0.4, np.full(len(rows), 0.5), values)
        domains = fit_domains(library, rows, ReliabilityMap(slope), held_out)
        model = TaskModel(task, fitted.models, False, rows, domains, 0.4)
        training = {"learner": learner, "folds": FOLDS, "repeats": repeats, "seed": 7}
        labels = {task.name: {"compounds": len(rows)}}
        card = Card(kind, "aurora", "demo", 1, "0" * 64, training | {"labels": labels})
        return TrainedModel(card, chemistry, library, [model])

    return run


# --- folders of models ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def svm(library, problems, train):
    task, values = problems["binary"]
    return train(library, task, values, "svm")


@pytest.fixture(scope="module")
def model(svm, library, problems, train):
    """SVM and trees, so that its folder holds every kind of file."""
    task, values = problems["regression"]
    trees = train(library, task, values, "lightgbm")
    both = [*svm.task_models, *trees.task_models]
    labels = svm.card.training["labels"] | trees.card.training["labels"]
    card = replace(svm.card, training=svm.card.training | {"labels": labels})
    return TrainedModel(card, svm.chemistry, library, both)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    folder.mkdir()
    save_model(model, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that may be spoiled."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def hybrid_folder(svm, tmp_path):
    card = Card("hybrid", "aurora", "demo", 1, "0" * 64)
    (tmp_path / "hybrid").mkdir()
    save_model(HybridModel(card, svm, svm, decided(svm)), tmp_path / "hybrid")
    return tmp_path / "hybrid"
