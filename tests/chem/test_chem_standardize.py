"""Standard structures worked by hand, refusals with their reasons, and idempotence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from fluid.chem import counterions
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
        ("CCO\u00a0", "CCO"),
        ("[CH3:1][CH2:2][OH:3]", "CCO"),
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


def test_a_mixture_is_refused_or_reduced_to_its_largest_part():
    mixture = "CCCCCCCCO.c1ccc2ccccc2c1"
    assert reason(mixture) == "mixture of 2 different components"
    # Ten heavy atoms against nine, though with its hydrogens nonanol is the larger.
    assert standardize(mixture, KEEP).smiles == "c1ccc2ccccc2c1"
    three = mixture + ".CCCc1ccccc1"
    assert reason(three) == "mixture of 3 different components"


@pytest.mark.parametrize(
    "mixture",
    [
        "CCO.CCN",
        "CCO.CCCO",
        "CCCO.CCS",
        # Codeine and paracetamol, aspirin and dipyridamole, emtricitabine and tenofovir disoproxil:
        # one is at most half as large as the other.
        "COc1ccc2c3c1OC1C(O)C=CC4C(C2)N(C)CCC341.CC(=O)Nc1ccc(O)cc1",
        "CC(=O)Oc1ccccc1C(=O)O.OCCN(CCO)c1nc(N2CCCCC2)c2nc(nc(N3CCCCC3)c2n1)N(CCO)CCO",
        "NC1=NC(=O)N(C=C1F)C1CSC(CO)O1.CC(C)OC(=O)OCOP(=O)(COC(C)Cn1cnc2c(N)ncnc12)OCOC(=O)OC(C)C",
        # Broken structures of a public table.
        "CNCNCCSCc1nc[nH]c1C.N#CN",
        "NCN.Nc1nc(-c2ccccc2)cs1",
        # Each has been a drug, and each a counter-ion.
        "C1CNCCN1.OC(=O)CC(O)(CC(=O)O)C(=O)O",
        "C[N+](C)(C)CCO.CCCCC(CC)COC(=O)CC(C(=O)OCC(CC)CCCC)S(=O)(=O)[O-]",
        "C[N+](C)(C)CCO.[O-]C(=O)c1ccccc1O",
    ],
)
def test_two_parts_that_may_each_be_the_compound_are_a_mixture(mixture):
    parts = mixture.split(".")
    assert reason(mixture).startswith("mixture ")
    assert reason(".".join(parts[::-1])) == reason(mixture)
    largest = standardize(mixture, StandardizerSpec(mixtures="largest"))
    assert largest.smiles in {standardize(part, SPEC).smiles for part in parts}


@pytest.mark.parametrize(
    ("salt", "parent"),
    [
        # Pentachlorobenzoic acid: 14 heavy atoms but one hydrogen; diethylamine: 5, but 11.
        ("OC(=O)c1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl.CCNCC", "O=C(O)c1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl"),
        ("C1CCNCC1.OC(=O)C(F)(F)F", "C1CCNCC1"),
        ("c1cn[nH]c1.OS(=O)(=O)C(F)(F)F", "c1cn[nH]c1"),
        ("Cc1ccccc1N.CN1CCCC1=O", "Cc1ccccc1N"),
        ("NCCS.OC(C(O)C(=O)O)C(=O)O", "NCCS"),
        (
            "CN(C)CCOC(c1ccccc1)c1ccccc1.Cn1c(=O)c2[nH]c(Cl)nc2n(C)c1=O",
            "CN(C)CCOC(c1ccccc1)c1ccccc1",
        ),
        ("[2H]C([2H])([2H])S(=O)C([2H])([2H])[2H].O=C1CC(c2ccccc2)N1", "O=C1CC(c2ccccc2)N1"),
    ],
)
@pytest.mark.parametrize("mixtures", ["reject", "largest"])
def test_the_parent_is_never_the_counter_ion(salt, parent, mixtures):
    assert standardize(salt, StandardizerSpec(mixtures=mixtures)).smiles == parent


# By name, written otherwise than in the list: charged, with stereochemistry, in another order.
COUNTER_IONS = {
    "pamoate": "[O-]C(=O)c1cc2ccccc2c(c1O)Cc1c(O)c(C([O-])=O)cc2ccccc12",
    "docusate": "CCCCC(CC)COC(=O)C[C@H](C(=O)OCC(CC)CCCC)S([O-])(=O)=O",
    "citrate": "[O-]C(=O)CC(O)(CC(=O)[O-])C(=O)[O-]",
    "besilate": "[O-]S(=O)(=O)c1ccccc1",
    "tosilate": "Cc1ccc(cc1)S([O-])(=O)=O",
    "napsilate": "[O-]S(=O)(=O)c1cc2ccccc2cc1",
    "stearate": "[O-]C(=O)CCCCCCCCCCCCCCCCC",
    "laurilsulfate": "[O-]S(=O)(=O)OCCCCCCCCCCCC",
    "gluconate": "OC[C@@H](O)[C@@H](O)[C@H](O)[C@@H](O)C([O-])=O",
    "lactobionate": "O=C([O-])C(O)C(O)C(C(O)CO)O[C@@H]1O[C@@H]([C@H](O)[C@H](O)[C@H]1O)CO",
    "xinafoate": "Oc1c(C([O-])=O)ccc2ccccc12",
    "edetate": "[O-]C(=O)CN(CC([O-])=O)CCN(CC(=O)O)CC(=O)O",
    "dibenzoyltartrate": "O=C(O[C@@H](C(O)=O)[C@H](OC(=O)c1ccccc1)C(O)=O)c1ccccc1",
    "cyclamate": "[O-]S(=O)(=O)NC1CCCCC1",
    "saccharinate": "O=C1[N-]S(=O)(=O)c2ccccc12",
    "trifluoroacetate": "[O-]C(=O)C(F)(F)F",
    "tetrafluoroborate": "[B-](F)(F)(F)F",
    "hexafluorophosphate": "[P-](F)(F)(F)(F)(F)F",
    "tetraphenylborate": "[B-](c1ccccc1)(c1ccccc1)(c1ccccc1)c1ccccc1",
    "meglumine": "C[NH2+]C[C@H](O)[C@@H](O)[C@H](O)[C@H](O)CO",
    "tromethamine": "[NH3+]C(CO)(CO)CO",
    "benzathine": "C(C[NH2+]Cc1ccccc1)[NH2+]Cc1ccccc1",
    "procaine": "CC[NH+](CC)CCOC(=O)c1ccc(N)cc1",
    "choline": "OCC[N+](C)(C)C",
    "arginine": "N[C@@H](CCCNC(N)=[NH2+])C([O-])=O",
    "lysine": "[NH3+]CCCC[C@H]([NH3+])C([O-])=O",
    "tetrabutylammonium": "CCCC[N+](CCCC)(CCCC)CCCC",
    "18-crown-6": "O1CCOCCOCCOCCOCCOCC1",
    "dimethylformamide": "O=CN(C)C",
    "dimethyl sulfoxide": "C[S+](C)[O-]",
    "tetrahydrofuran": "O1CCCC1",
    "dioxane": "O1CCOCC1",
    "sodium, twice": "[Na+].[Na+]",
    "zinc": "[Zn+2]",
}


@pytest.mark.parametrize("name", COUNTER_IONS)
@pytest.mark.parametrize("mixtures", ["reject", "largest"])
def test_known_counter_ions_go_whatever_their_size(name, mixtures):
    spec = StandardizerSpec(mixtures=mixtures)
    for drug in ("CN(C)C(=N)NC(N)=N", "C[N+]1(CCO)CCCC1", "CC(C)Cc1ccc(cc1)C(C)C(=O)[O-]"):
        alone = standardize(drug, spec).smiles
        assert standardize(f"{drug}.{COUNTER_IONS[name]}", spec).smiles == alone
        assert standardize(f"{COUNTER_IONS[name]}.O.{drug}.{drug}", spec).smiles == alone


def test_a_known_counter_ion_is_the_compound_where_nothing_else_is_organic():
    citrate = "[O-]C(=O)CC(O)(CC(=O)[O-])C([O-])=O"
    assert (
        standardize(f"{citrate}.[Na+].[Na+].[Na+].O.O", SPEC).smiles == "O=C(O)CC(O)(CC(=O)O)C(=O)O"
    )
    assert standardize("C1CNCCN1.Cl.Cl", SPEC).smiles == "C1CNCCN1"
    assert standardize("C1CNCCN1", SPEC).smiles == "C1CNCCN1"
    assert standardize("C[N+](C)(C)CC(=O)O.[Cl-]", SPEC).smiles == "C[N+](C)(C)CC(=O)O"


def test_every_known_component_is_listed_once_and_reads_as_itself():
    lines = [
        line.split()
        for lines in (counterions._SOLVENTS, counterions._IONS, counterions._INORGANIC)
        for line in lines.strip().split("\n")
    ]
    assert len({name for name, _ in lines}) == len(lines) == len(counterions._known())
    for name, smiles in lines:
        mol = Chem.MolFromSmiles(smiles)
        assert len(Chem.GetMolFrags(mol)) == 1, name
        assert counterions.known_group(Chem.MolFromSmiles(Chem.MolToSmiles(mol))), name


@pytest.mark.parametrize(
    ("smiles", "metal"),
    [
        # Oxaliplatin, carboplatin, a gadolinium chelate, a porphyrin, ferrous gluconate.
        ("O=C1O[Pt]2(NC3CCCCC3N2)OC1=O", "Pt"),
        ("[NH3].[NH3].[Pt+2].[O-]C(=O)C1(CCC1)C([O-])=O", "Pt"),
        ("[Gd+3].[O-]C(=O)CN(CCN(CC(=O)[O-])CC(=O)[O-])CCN(CC(=O)O)CC(=O)[O-]", "Gd"),
        ("N[Cu]1(N)OC(=O)C2=C(C=CC=C2)C(=O)O1", "Cu"),
        ("[Fe+2].OCC(O)C(O)C(O)C(O)C(=O)[O-].OCC(O)C(O)C(O)C(O)C(=O)[O-]", "Fe"),
        ("CC(=O)O[Hg]c1ccccc1", "Hg"),
    ],
)
@pytest.mark.parametrize("mixtures", ["reject", "largest"])
def test_a_complex_is_not_its_ligand(smiles, metal, mixtures):
    expected = f"holds {metal}, which is not an organic element"
    assert reason(smiles, StandardizerSpec(mixtures=mixtures)) == expected


def test_what_is_the_same_makes_no_mixture():
    racemate = "C[C@H](N)CCc1ccccc1.C[C@@H](N)CCc1ccccc1"
    assert standardize(racemate, SPEC).smiles == "CC(N)CCc1ccccc1"
    # Where stereochemistry is kept, one enantiomer is not the racemate.
    keep = StandardizerSpec(stereo="keep")
    assert reason(racemate, keep) == "mixture of 2 stereoisomers or isotopic forms"
    assert standardize("OC(=O)CCCCCl.[O-]C(=O)CCCCCl.[Na+]", SPEC).smiles == "O=C(O)CCCCCl"
    assert reason("[Na+].NN.CC(=O)O", SPEC) == "holds no carbon"


@pytest.mark.parametrize(
    "smiles",
    [
        "CC O",
        "CC\tO",
        "CCO ethanol",
        "CCO ethanol |&1:1|",
        "CCO |&1:1| ethanol",
        "CCO |",
        "CC [C@H]",
        "C[N+]1 (CCCCC[N+]2(C)CCCC2)CCCC1",
        "CC .O",
    ],
)
def test_what_stands_behind_a_blank_is_not_cut_off_in_silence(smiles):
    assert reason(smiles).startswith("holds a blank; only a CXSMILES extension")


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("\u00a0", "U+00A0 (NO-BREAK SPACE)"),
        ("\u200b", "U+200B (ZERO WIDTH SPACE)"),
        ("\ufeff", "U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
        ("\u2212", "U+2212 (MINUS SIGN)"),
        ("\u0421", "U+0421 (CYRILLIC CAPITAL LETTER ES)"),
    ],
)
def test_letters_that_look_like_others_are_named(letter, name):
    assert reason(f"CC{letter}O") == f"holds {name}, which no SMILES has"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("CCO |(1,2,3;1,2,3;1,2,3)|", "CCO"),
        ("CCO |$left;;the \u03b1 end$|", "CCO"),
        ("CCO |SgD:1:name:val::::|", "CCO"),
        ("CCO.Cl |f:0.1|", "CCO"),
        ("CC=CC |ctu:1|", "CC=CC"),
        ("C[C@H](N)CC |&1:1|", "CCC(C)N"),
        ("C[C@H](N)CC |o1:1|", "CCC(C)N"),
        ("C[C@H](N)CC |r|", "CCC(C)N"),
        ("C[C@H](N)CC |a:1|", "CC[C@H](C)N"),
        ("C[C@H](N)[C@H](C)Cl |&1:1,&2:3|", "CC(N)C(C)Cl"),
    ],
)
def test_a_cxsmiles_is_the_molecule_that_it_says(given, expected):
    assert standardize(given, KEEP).smiles == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("CC |^1:0|", "is a radical (atom 1, C)"),
        ("C* |$;_R1$|", "holds an R group, attachment point or query atom"),
        ("CCO |$;;_AP1$|", "holds an R group, attachment point or query atom"),
        ("CCO |$;;R2$|", "holds an R group, attachment point or query atom"),
        ("C* |$;Pol_p$|", "holds an R group, attachment point or query atom"),
        ("CCO |Sg:n:1:n:ht|", "is a polymer, formulation or other set of molecules in brackets"),
        (
            "CCO.CCN |Sg:f:0,1,2,3,4,5::|",
            "is a polymer, formulation or other set of molecules in brackets",
        ),
        ("CCO |LN:1:1.3|", "is a generic (Markush) or query structure"),
        ("CF.c1ccccc1 |m:0:2.3.4|", "is a generic (Markush) or query structure"),
        ("CCO |u:1|", "is a generic (Markush) or query structure"),
        ("CCCC.C |H:0.0|", "holds hydrogen bonds drawn as bonds"),
        ("CCO |nonsense|", "CXSMILES extension cannot be read"),
        (
            "C[C@H](N)[C@H](C)Cl |&1:1,3|",
            "has racemic or relative stereochemistry at several centres",
        ),
        ("C[C@H](N)[C@H](C)Cl |r|", "has racemic or relative stereochemistry at several centres"),
        ("C~C", "holds a bond of no fixed order (~ or $)"),
    ],
)
def test_a_cxsmiles_that_is_not_one_molecule_is_refused(given, expected):
    assert reason(given, KEEP) == expected


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
        ("CC>>CO", "is a reaction, not one structure"),
        ("CC.O>[Pd]>CO", "is a reaction, not one structure"),
        ("InChI=1S/CH4/h1H4", "is an InChI, not a SMILES"),
        ("QTBSBXVTEAMEQO-UHFFFAOYSA-N", "is an InChIKey, not a SMILES"),
        ("[#6]-[#7]", "is a radical (atom 1, C)"),
        ("[C,N]C", "SMILES cannot be parsed"),
        ("NaN", "SMILES cannot be parsed"),
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
    assert usable >= len(DIVERSE) - 11


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


@pytest.mark.parametrize("salt", ["[2H]Cl", "[2H]Br", "[3H]Cl", "[2H]O[2H]", "[2H]F"])
@pytest.mark.parametrize("isotopes", ["remove", "keep"])
def test_deuterated_counterions_go(salt, isotopes):
    spec = StandardizerSpec(isotopes=isotopes)
    assert standardize(f"CCNCC(=O)Nc1ccccc1.{salt}", spec).smiles == "CCNCC(=O)Nc1ccccc1"
