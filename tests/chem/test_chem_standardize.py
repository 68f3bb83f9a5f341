"""Standard structures worked by hand, refusals with their reasons, and idempotence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from fluid.chem.reference import REFERENCE_SMILES
from fluid.chem.standardize import (
    ORGANIC_ELEMENTS,
    StandardizerSpec,
    StructureError,
    _has,
    connectivity,
    standardize,
)

SPEC = StandardizerSpec()
KEEP = StandardizerSpec(stereo="keep", isotopes="keep", mixtures="largest")
DIVERSE = (
    *REFERENCE_SMILES,
    "CCN(CC)CCOC(=O)c1ccc(N)cc1.Cl",
    "[O-]S(=O)(=O)c1ccccc1.[NH4+]",
    "C[N+](C)(C)CC(=O)[O-]",
    "OC(=O)CC(O)(CC(O)=O)C(O)=O.NCCO",
    "[O-][N+](=O)c1ccc(O[Na])cc1",
    "CC(=O)N[C@@H](CS)C(O)=O",
    "C/C=C\\C(=O)N1CC[C@H](F)C1",
    "[2H]c1ccccc1[13C](=O)O",
    "C[S@](=O)c1ccccc1",
    "NC(=[NH2+])NCCCC(N)C(=O)[O-]",
    "C1=CC=C[CH-]1.[Na+]",
    "CN=[N+]=[N-]",
    "C[NH+](C)[O-]",
    "O=P(O)(O)OC[C@H]1O[C@@H](n2cnc3c(N)ncnc32)[C@H](O)[C@@H]1O",
    "c1ccc[n+](C)c1.[I-]",
    "CC(=O)C=C(C)O",
    "OC1=CC=NC=C1",
    "C[Si](C)(C)OB(O)c1cc[nH]n1",
    "[Cl-].CC[NH2+]C.O.O",
    "CCCC[N+](CCCC)(CCCC)CCCC.[F-]",
    "S=C=Nc1ccccc1",
    "C#CC(C)(O)C#N",
    "OS(=O)(=O)O.CN",
    "FC(F)(F)C(=O)[O-].C[NH2+]Cc1ccccc1",
    "[C-]#[N+]c1ccccc1",
    "C[n+]1ccccc1C=NO",
    "O=C1NC(=O)C(c2ccccc2)(c2ccccc2)[N-]1",
    "OC(=O)c1ccccc1[O-].[Li+]",
    "CC(C)=[N+](C)[O-]",
)


def reason(smiles, spec=SPEC):
    with pytest.raises(StructureError) as caught:
        standardize(smiles, spec)
    return str(caught.value)


def test_aspirin_has_the_inchikey_of_the_books():
    aspirin = standardize("OC(=O)C1=CC=CC=C1OC(C)=O", SPEC)
    assert aspirin.smiles == "CC(=O)Oc1ccccc1C(=O)O"
    assert aspirin.inchikey == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert connectivity(aspirin.inchikey) == "BSYNRYMUTXBXSQ"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("CC(=O)[O-].[Na+]", "CC(=O)O"),
        ("[Na]OC(=O)c1ccccc1", "O=C(O)c1ccccc1"),
        ("CN(C)CCC=C1c2ccccc2CCc2ccccc12.Cl", "CN(C)CCC=C1c2ccccc2CCc2ccccc21"),
        ("[K+].[O-]c1ccccc1.O", "Oc1ccccc1"),
        ("[NH3+]CC(=O)[O-]", "NCC(=O)O"),
        ("C[N+](C)(C)CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]"),
        ("C[N+](C)(C)CCO.[Cl-]", "C[N+](C)(C)CCO"),
        ("O=N(=O)c1ccccc1", "O=[N+]([O-])c1ccccc1"),
        ("CS(C)=O", "C[S+](C)[O-]"),
        ("[O-][n+]1ccccc1", "[O-][n+]1ccccc1"),
        ("CCO.OCC", "CCO"),
        ("  CCO  ", "CCO"),
        ("CCO ethanol", "CCO"),
    ],
)
def test_salts_charges_and_drawings_are_brought_to_one_form(given, expected):
    assert standardize(given, SPEC).smiles == expected


def test_a_metal_bond_to_oxygen_is_cut_but_not_one_to_carbon():
    assert standardize("O=C1O[Ca]OC(=O)C1", SPEC).smiles == "O=C(O)CC(=O)O"
    assert reason("CC[Hg]Cl") == "holds Hg, which is not an organic element"


def test_stereochemistry_is_removed_or_kept():
    assert standardize("C[C@H](N)C(=O)O", SPEC).smiles == "CC(N)C(=O)O"
    assert standardize("F/C=C/F", SPEC).smiles == "FC=CF"
    assert standardize("F/C=C\\F", SPEC).inchikey == standardize("F/C=C/F", SPEC).inchikey
    left, right = (standardize(s, KEEP) for s in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"))
    assert left.smiles == "C[C@H](N)C(=O)O"
    assert left.inchikey == "QNAYBMKLOCPYGJ-REOHCLBHSA-N"
    assert right.inchikey == "QNAYBMKLOCPYGJ-UWTATZPHSA-N"
    assert connectivity(left.inchikey) == connectivity(right.inchikey)
    assert standardize("F/C=C/F", KEEP).smiles == "F/C=C/F"


def test_isotopes_are_removed_or_kept():
    assert standardize("[2H]C([2H])([2H])O", SPEC).smiles == "CO"
    assert standardize("[13CH4]", SPEC).smiles == "C"
    assert standardize("[2H]C([2H])([2H])O", KEEP).smiles == "[2H]C([2H])([2H])O"
    assert standardize("[13CH4]", KEEP).smiles == "[13CH4]"


def test_a_mixture_of_like_size_is_refused_or_reduced_to_its_largest_part():
    mixture = "CCCCCCCCO.c1ccc2ccccc2c1"
    assert reason(mixture) == "mixture of 2 organic components of like size"
    # Ten heavy atoms against nine, though with its hydrogens nonanol is the larger.
    assert standardize(mixture, KEEP).smiles == "c1ccc2ccccc2c1"
    three = mixture + ".O=C(O)c1ccccc1"
    assert reason(three) == "mixture of 3 organic components of like size"


@pytest.mark.parametrize(
    ("salt", "parent"),
    [
        # Pentachlorobenzoic acid: 14 heavy atoms but one hydrogen; diethylamine: 5, but 11.
        ("OC(=O)c1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl.CCNCC", "O=C(O)c1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl"),
        # Known counter-ions and solvents that are larger than the compound.
        ("C1CCNCC1.OC(=O)C(F)(F)F", "C1CCNCC1"),
        ("c1cn[nH]c1.OS(=O)(=O)C(F)(F)F", "c1cn[nH]c1"),
        ("c1c[nH]cn1.CN1CCCC1=O", "c1c[nH]cn1"),
        # Nothing but solvents: the largest is the compound.
        ("CCO.CCCO", "CCCO"),
    ],
)
@pytest.mark.parametrize("mixtures", ["reject", "largest"])
def test_the_parent_is_never_the_counter_ion(salt, parent, mixtures):
    assert standardize(salt, StandardizerSpec(mixtures=mixtures)).smiles == parent


def test_what_is_small_or_the_same_makes_no_mixture():
    # Ethylene glycol has 4 heavy atoms, at most half of decanol's 11.
    assert standardize("CCCCCCCCCCO.OCCO", SPEC).smiles == "CCCCCCCCCCO"
    racemate = "C[C@H](N)CCc1ccccc1.C[C@@H](N)CCc1ccccc1"
    assert standardize(racemate, SPEC).smiles == "CC(N)CCc1ccccc1"


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("", "empty structure"),
        (" \t", "empty structure"),
        ("*CC", "holds a dummy atom or R-group (*)"),
        ("[1*]c1ccccc1", "holds a dummy atom or R-group (*)"),
        ("C[CH2]", "is a radical (atom 2, C)"),
        ("C[N]C", "is a radical (atom 2, N)"),
        ("O", "holds no carbon"),
        ("[Na+].[Cl-]", "holds no carbon"),
        ("[H][H]", "holds no carbon"),
        ("N[Pt](N)(Cl)Cl", "holds Pt, which is not an organic element"),
        ("[Pt]", "holds Pt, which is not an organic element"),
        ("C[As](C)C", "holds As, which is not an organic element"),
        ("c1cc", "SMILES cannot be parsed"),
        ("C1CC", "SMILES cannot be parsed"),
        ("CC>>CO", "SMILES cannot be parsed"),
        ("aspirin", "SMILES cannot be parsed"),
        ("C\x00C", "SMILES cannot be parsed"),
        ("CC\udcff", "structure holds bytes that are not UTF-8"),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1ccccc1c", "non-ring atom 6 marked aromatic"),
        ("C" * 151, "151 heavy atoms, at most 150 are allowed"),
        ("C" * 3000, "3000 heavy atoms, at most 150 are allowed"),
        ("C" * 3001, "SMILES of 3001 characters, at most 3000 are allowed"),
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_what_cannot_be_used_says_why(smiles, expected):
    assert reason(smiles) == expected


def test_the_limit_counts_heavy_atoms_of_the_chosen_fragment():
    assert standardize("C" * 150, SPEC).mol.GetNumHeavyAtoms() == 150
    small = StandardizerSpec(max_heavy_atoms=3)
    assert standardize("CCO.Cl.Cl", small).smiles == "CCO"
    assert reason("CCCC", small) == "4 heavy atoms, at most 3 are allowed"


def test_elements_of_drugs_are_allowed():
    for smiles in ("CB(O)O", "C[Si](C)(C)C", "CP(=O)(O)O", "c1cc[se]c1", "CI", "CBr", "CF", "CS"):
        atoms = standardize(smiles, SPEC).mol.GetAtoms()
        assert {atom.GetAtomicNum() for atom in atoms} <= ORGANIC_ELEMENTS


@pytest.mark.parametrize(
    "wrong",
    [
        {"stereo": "maybe"},
        {"isotopes": ""},
        {"mixtures": "all"},
        {"max_heavy_atoms": 0},
        {"max_heavy_atoms": 1001},
    ],
)
def test_settings_outside_the_choices_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StandardizerSpec(**wrong)


@pytest.mark.parametrize("smiles", [*DIVERSE, "CC |^1:0|", "CC* |$;;R1$|", "[As](C)C", "[CH3]"])
def test_atoms_are_found_as_a_loop_over_them_finds_them(smiles):
    mol = Chem.MolFromSmiles(smiles)
    atoms = list(mol.GetAtoms())
    assert _has(mol, "foreign") == any(a.GetAtomicNum() not in ORGANIC_ELEMENTS for a in atoms)
    assert _has(mol, "carbon") == any(a.GetAtomicNum() == 6 for a in atoms)
    assert _has(mol, "radical") == any(a.GetNumRadicalElectrons() for a in atoms)
    assert _has(mol, "isotope") == any(a.GetIsotope() for a in atoms)
    assert _has(mol, "charge") == any(a.GetFormalCharge() for a in atoms)


def test_settings_survive_as_plain_values():
    assert StandardizerSpec(**KEEP.to_dict()) == KEEP


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(DIVERSE), st.sampled_from([SPEC, KEEP]), st.randoms(use_true_random=False))
def test_standardising_is_idempotent_and_does_not_depend_on_how_a_structure_is_written(
    smiles, spec, random
):
    try:
        once = standardize(smiles, spec)
    except StructureError:
        return
    again = standardize(once.smiles, spec)
    assert (again.smiles, again.inchikey) == (once.smiles, once.inchikey)
    order = list(range(once.mol.GetNumAtoms()))
    random.shuffle(order)
    shuffled = Chem.MolToSmiles(Chem.RenumberAtoms(once.mol, order), canonical=False)
    rewritten = standardize(shuffled, spec)
    assert (rewritten.smiles, rewritten.inchikey) == (once.smiles, once.inchikey)


def test_most_of_the_diverse_structures_are_usable():
    usable = 0
    for smiles in DIVERSE:
        try:
            standardize(smiles, SPEC)
            usable += 1
        except StructureError:
            continue
    assert usable >= len(DIVERSE) - 6


def test_key_and_molecule_come_from_the_standard_smiles():
    for smiles in ("CC(=O)[O-].[Na+]", "C[C@H](N)C(=O)O", "[2H]C", "C[N+](C)(C)CC(=O)[O-]"):
        found = standardize(smiles, SPEC)
        assert Chem.MolToSmiles(found.mol) == found.smiles
        assert Chem.MolToInchiKey(Chem.MolFromSmiles(found.smiles)) == found.inchikey


def test_nothing_is_written_to_standard_error(capfd):
    reason("c1cc")
    reason("C(C)(C)(C)(C)C")
    standardize("CC(=O)[O-].[Na+]", SPEC)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("smiles", "standard"),
    [
        ("N=C([NH2+2])[NH2+]CC(O)=[SiH2]", "N=C(N)NCC(O)=[SiH2]"),
        ("C[N+](C)(C)CCO.[Cl-]", "C[N+](C)(C)CCO"),
        ("O=N(=O)c1ccccc1", "O=[N+]([O-])c1ccccc1"),
    ],
)
def test_a_standard_form_is_its_own_standard_form(smiles: str, standard: str) -> None:
    """Whoever gets it computes it again, and refuses a set in which anything changes."""
    assert standardize(smiles, StandardizerSpec()).smiles == standard
    assert standardize(standard, StandardizerSpec()).smiles == standard


def test_a_radical_that_neutralising_leaves_is_refused() -> None:
    with pytest.raises(StructureError, match=r"is a radical"):
        standardize("CC(C)(C)[NH+2]C(C)=O", StandardizerSpec())
