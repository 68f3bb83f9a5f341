"""Features agree with raw RDKit, bit for bit; batches can be cut and joined."""

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdFingerprintGenerator, rdMolDescriptors

from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.counts import count_fingerprints
from fluid.chem.descriptors import compute_descriptors, descriptor_names
from fluid.chem.features import FeatureSpec, featurize, morgan_environments
from fluid.chem.standardize import StandardizerSpec, standardize


def same(left, right):
    return all(
        np.array_equal(getattr(left, field.name), getattr(right, field.name))
        for field in dataclasses.fields(Compounds)
    )


def generator(spec):
    invariants = None
    if spec.fingerprint == "fcfp":
        invariants = rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    return rdFingerprintGenerator.GetMorganGenerator(
        radius=spec.radius, fpSize=spec.bits, atomInvariantsGenerator=invariants
    )


SPECS = [
    FeatureSpec(),
    FeatureSpec(fingerprint="fcfp", descriptors="none"),
    FeatureSpec(radius=0, bits=64, descriptors="none"),
    FeatureSpec(radius=3, bits=1088, descriptors="none"),
    FeatureSpec(radius=5, bits=65536, descriptors="none"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.fingerprint}{s.radius}-{s.bits}")
def test_folded_fingerprints_are_those_of_rdkit(structures, spec):
    made = featurize(structures, [""] * len(structures), spec)
    expected = [list(generator(spec).GetFingerprint(structure.mol)) for structure in structures]
    assert made.bits == spec.bits
    assert np.unpackbits(made.fingerprints, axis=1).tolist() == expected


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.fingerprint}{s.radius}-{s.bits}")
def test_feature_matrix_holds_rdkits_counts_beside_the_descriptors(structures, spec):
    made = featurize(structures, [""] * len(structures), spec)
    counts = [generator(spec).GetCountFingerprint(structure.mol) for structure in structures]
    expected = np.array([list(count) for count in counts], dtype=np.float32)
    matrix = made.feature_matrix(counts=True)
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(structures), spec.bits + spec.n_descriptors)
    assert np.array_equal(matrix[:, : spec.bits].toarray(), expected)
    assert np.array_equal(matrix[:, spec.bits :].toarray(), made.descriptors)
    presence = made.feature_matrix(counts=False)[:, : spec.bits].toarray()
    assert np.array_equal(presence, expected > 0)


def test_a_feature_matrix_leaves_the_compounds_as_they_were(structures):
    spec = FeatureSpec(bits=64, descriptors="none")
    made = featurize(structures, [""] * len(structures), spec)
    before = made.take(np.arange(len(made)))
    made.feature_matrix(counts=False)
    made.feature_matrix(counts=True)
    assert same(made, before)


def test_unfolded_environments_are_those_of_rdkit(structures):
    for structure in structures:
        identifiers, counts = morgan_environments(structure.mol, FeatureSpec())
        sparse = generator(FeatureSpec()).GetSparseCountFingerprint(structure.mol)
        pairs = zip(identifiers.tolist(), counts.tolist(), strict=True)
        assert dict(pairs) == sparse.GetNonzeroElements()
        assert identifiers.dtype == np.uint32
        assert np.all(np.diff(identifiers.astype(np.int64)) > 0)


def test_counts_stop_at_what_a_byte_holds():
    spec = StandardizerSpec(max_heavy_atoms=400)
    chain = standardize("C" * 400, spec)
    identifiers, counts = morgan_environments(chain.mol, FeatureSpec(radius=0))
    # Radius 0 knows two kinds of atoms: the two ends and the 398 between.
    assert sorted(counts.tolist()) == [2, 255]
    assert len(identifiers) == 2


def test_without_counts_models_see_only_that_a_feature_occurs(structures):
    with_counts = featurize(structures, [""] * len(structures), FeatureSpec())
    uncounted = featurize(structures, [""] * len(structures), FeatureSpec(counts=False))
    assert with_counts.counts.max() > 1
    assert set(uncounted.counts.tolist()) == {1}
    assert np.array_equal(uncounted.environments, with_counts.environments)
    assert np.array_equal(uncounted.fingerprints, with_counts.fingerprints)


def test_descriptors_are_those_of_rdkit(structures):
    names = descriptor_names()
    oracle = {
        "exactmw": Descriptors.ExactMolWt,
        "CrippenClogP": Crippen.MolLogP,
        "tpsa": rdMolDescriptors.CalcTPSA,
        "NumHBA": rdMolDescriptors.CalcNumHBA,
        "NumHBD": rdMolDescriptors.CalcNumHBD,
        "NumRings": rdMolDescriptors.CalcNumRings,
        "NumRotatableBonds": rdMolDescriptors.CalcNumRotatableBonds,
        "FractionCSP3": rdMolDescriptors.CalcFractionCSP3,
        "kappa1": rdMolDescriptors.CalcKappa1,
        "chi2v": rdMolDescriptors.CalcChi2v,
        "labuteASA": rdMolDescriptors.CalcLabuteASA,
        "SlogP_VSA2": lambda mol: rdMolDescriptors.SlogP_VSA_(mol)[1],
        "SMR_VSA10": lambda mol: rdMolDescriptors.SMR_VSA_(mol)[9],
        "PEOE_VSA1": lambda mol: rdMolDescriptors.PEOE_VSA_(mol)[0],
        "MQN42": lambda mol: rdMolDescriptors.MQNs_(mol)[41],
    }
    assert len(set(names)) == len(names) == FeatureSpec().n_descriptors
    for structure in structures:
        found = dict(zip(names, compute_descriptors([structure.mol])[0], strict=True))
        for name, function in oracle.items():
            assert found[name] == pytest.approx(function(structure.mol), rel=1e-6), name


def test_descriptors_do_not_depend_on_stereo_and_are_finite():
    odd = ("C[N+](C)(C)C", "[O-][n+]1ccccc1", "C[Si](C)(C)C", "CB(O)O", "c1cc[se]c1", "[H]C#N")
    for smiles in odd:
        assert np.isfinite(compute_descriptors([Chem.MolFromSmiles(smiles)])).all(), smiles
    flat, tall = (Chem.MolFromSmiles(s) for s in ("CC(N)C(=O)O", "C[C@H](N)C(=O)O"))
    assert np.array_equal(compute_descriptors([flat]), compute_descriptors([tall]))


def test_no_structures_give_an_empty_batch():
    for spec in SPECS:
        made = featurize([], [], spec)
        assert len(made) == 0
        assert made.bits == spec.bits
        assert made.feature_matrix(counts=True).shape == (0, spec.bits + spec.n_descriptors)


def test_a_batch_knows_names_keys_and_connectivities(compounds, structures):
    assert len(compounds) == len(structures)
    assert compounds.ids.tolist() == [f"c{number}" for number in range(len(structures))]
    assert compounds.smiles.tolist() == [structure.smiles for structure in structures]
    assert compounds.inchikeys[0] == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert compounds.connectivities[0] == "BSYNRYMUTXBXSQ"


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "maccs"},
        {"descriptors": "all"},
        {"radius": 6},
        {"radius": -1},
        {"bits": 0},
        {"bits": 100},
        {"bits": 65600},
    ],
)
def test_settings_outside_the_choices_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FeatureSpec(**wrong)


def test_settings_survive_as_plain_values():
    spec = FeatureSpec("fcfp", 3, 1024, False, "none")
    assert FeatureSpec(**spec.to_dict()) == spec


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_is_taken_is_what_featurising_those_alone_gives(structures, compounds, data):
    rows = data.draw(st.lists(st.integers(0, len(compounds) - 1), max_size=8))
    alone = featurize([structures[row] for row in rows], [f"c{row}" for row in rows], FeatureSpec())
    assert same(compounds.take(np.array(rows, dtype=np.int64)), alone)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_cutting_and_joining_gives_the_same_batch(compounds, data):
    n = len(compounds)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    edges = [0, *cuts, n]
    pieces = [compounds.take(np.arange(start, end)) for start, end in itertools.pairwise(edges)]
    assert same(concatenate(pieces), compounds)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_mask_takes_what_its_positions_take(compounds, mask):
    chosen = np.array(mask)
    assert same(compounds.take(chosen), compounds.take(np.flatnonzero(chosen)))


@pytest.mark.parametrize("counts", [True, False])
def test_remembering_compounds_find_the_same_features_once(compounds, counts):
    kept = compounds.with_cache()
    rows = np.array([4, 0, 4, 7])
    for part in (kept, kept.take(rows), kept.take(rows).take(np.array([2, 1]))):
        alone = dataclasses.replace(part)
        assert np.array_equal(count_fingerprints(part), count_fingerprints(alone))
        found, expected = part.feature_matrix(counts), alone.feature_matrix(counts)
        assert (found != expected).nnz == 0
    assert kept.feature_matrix(counts) is kept.feature_matrix(counts)
    assert compounds.feature_matrix(counts) is not compounds.feature_matrix(counts)


def test_compounds_that_remember_go_to_another_process(compounds):
    whole = compounds.with_cache()
    expected = whole.feature_matrix(True)
    part = whole.take(np.arange(1, len(whole), 2))
    for mine, matrix in ((whole, expected), (part, expected[1::2])):
        # As pickling does.
        there = copy.deepcopy(mine)
        assert there.smiles.tolist() == mine.smiles.tolist()
        assert (there.feature_matrix(True) != matrix).nnz == 0
        # Derived once there as well.
        assert there.feature_matrix(True) is there.feature_matrix(True)
    assert len(pickle.dumps(whole)) < 1.1 * len(pickle.dumps(compounds))
    plain = copy.deepcopy(compounds)
    assert plain.feature_matrix(True) is not plain.feature_matrix(True)
