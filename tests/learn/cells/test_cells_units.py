"""Every spelling of a unit, conversion worked by hand, and units in names of columns."""

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.learn.cells.units import (
    convert,
    direction,
    is_unit,
    parse_unit,
    same_unit,
    unit_of_name,
)
from fluid.learn.task import LabelError, Task


def task(unit="", scale="linear", **more):
    return Task("x", "regression", unit=unit, scale=scale, **more)


P = task("uM", "p", low=-20, high=20)

SPELLINGS = {
    "M": [
        "mol/L",
        "mol/l",
        "mol L-1",
        "mol·L⁻¹",
        "mol.L-1",
        "mol/dm3",
        "mol dm-3",
        "molar",
        "Molar",
        "[M]",
    ],
    "mM": ["mmol/L", "millimolar", "mmol/l", "mMol/L", "umol/mL", "mmol per L"],
    "uM": [
        "µM",
        "μM",
        "umol/L",
        "µmol/L",
        "μmol/l",
        "umol/l",
        "µmol·L⁻¹",
        "µmol L-1",
        "umol.L-1",
        "umol L^-1",
        "micromolar",
        "microM",
        "mcM",
        "µMol/L",
        "(µM)",
        "[uM]",
        " uM ",
        "ｕＭ",
        "umol/liter",
        "umol/litre",
        "micromol/L",
        "nmol/mL",
        "pmol/uL",
        "umol*L-1",
        "umol.dm-3",
        "mmol/m^3",
    ],
    "nM": [
        "nmol/L",
        "nmol/l",
        "nmol·l-1",
        "nmol.L-1",
        "nanomolar",
        "nanoM",
        "pmol/mL",
        "nmol L⁻¹",
        "nmol/dm³",
        "fmol/uL",
    ],
    "pM": ["pmol/L", "picomolar", "fmol/mL"],
    "fM": ["fmol/L", "femtomolar"],
    "g/L": [
        "mg/mL",
        "g.L-1",
        "ug/uL",
        "mg mL-1",
        "mg·mL⁻¹",
        "g/l",
        "mg/ml",
        "kg/m3",
        "mg/cc",
        "mg/cm3",
    ],
    "mg/L": [
        "ug/mL",
        "µg/mL",
        "ug.mL-1",
        "µg.mL-1",
        "mcg/mL",
        "µg/ml",
        "ug ml-1",
        "ng/uL",
        "mg/l",
        "UG/ML",
        "mcg/ml",
    ],
    "ng/mL": ["ug/L", "ng.mL-1", "µg/L", "pg/uL", "ng/ml"],
    "mg/dL": ["mg/100 mL", "mg/100mL", "mg dL-1"],
    "s": ["sec", "second", "seconds", "S"],
    "ms": ["msec", "millisecond"],
    "min": ["minute", "minutes", "mins", "Min", "MIN"],
    "h": ["hr", "hour", "hours", "hrs", "H", "Hr"],
    "d": ["day", "days"],
    "cm/s": ["cm.s-1", "cm s-1", "cm·s⁻¹", "CM/S", "cm/sec", "cm.s^-1"],
    "10^-6 cm/s": [
        "1e-6 cm/s",
        "1E-06 cm/s",
        "10⁻⁶ cm/s",
        "10-6 cm/s",
        "x10^-6 cm/s",
        "x 10-6 cm/s",
        "10'-6 cm/s",
        "10^-6cm/s",
        "10**-6 cm/s",
        "10^(-6) cm/s",
        "×10⁻⁶ cm/s",
        "ucm/s",
        "10^-6 cm.s-1",
        "10^1 nm/s",
    ],
    "nm/s": ["10^-7 cm/s", "nm.s-1", "nm s⁻¹"],
    "mL/min/kg": [
        "mL.min-1.kg-1",
        "mL/(min*kg)",
        "mL/(min kg)",
        "ml/min/kg",
        "mL min-1 kg-1",
        "mL·min⁻¹·kg⁻¹",
        "ML/MIN/KG",
    ],
    "uL/min/mg": [
        "µL/min/mg",
        "uL.min-1.mg-1",
        "µl/min/mg",
        "uL/min/mg protein",
        "µL/min/mg microsomal protein",
        "uL/(min.mg)",
    ],
    "uL/min/10^6 cells": [
        "µL/min/10^6 cells",
        "uL.min-1.(10^6cells)-1",
        "uL/min/million cells",
        "uL/min/1e6 cells",
        "µL/min/10⁶ cells",
        "uL/min/10^6cells",
        "µl/min/10^6 hepatocytes",
        "uL.min-1.(10'6cells)-1",
        "uL/min/(10^6 cells)",
        "uL/min/1E6 cells",
    ],
    "L/kg": ["L.kg-1", "l/kg", "L kg-1"],
    "%": ["percent", "pct", "％", "(%)"],
    "1/h": ["h-1", "h^-1", "hr-1"],
    "-log10(M)": [
        "p",
        "pIC50",
        "pKi",
        "pEC50",
        "pChEMBL",
        "pChEMBL Value",
        "-log M",
        "-log10 M",
        "-log(mol/L)",
        "−log₁₀(M)",
        "-log10(IC50/M)",
        "-log10(IC50 [M])",
        "neg log M",
        "negative log10 M",
        "-lg M",
        "-Log(M)",
        "PIC50",
        "p-Ki",
    ],
    "log10(uM)": [
        "log uM",
        "log10 uM",
        "log(µM)",
        "Log10(IC50/uM)",
        "log10(IC50 in µM)",
        "log10[uM]",
        "log10(umol/L)",
        "lg(uM)",
    ],
}


@pytest.mark.parametrize(
    ("unit", "spelling"), [(unit, one) for unit, found in SPELLINGS.items() for one in found]
)
def test_every_spelling_is_the_same_unit(unit, spelling):
    assert same_unit(unit, spelling)
    assert same_unit(spelling, unit)
    assert is_unit(spelling)


def test_no_two_of_them_are_the_same():
    units = list(SPELLINGS)
    same = [(a, b) for a in units for b in units if a != b and same_unit(a, b)]
    assert same == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "foo",
        "ppm",
        "log10(brain/blood)",
        "logD",
        "log D",
        "log S",
        "nM/",
        "/L",
        "L//kg",
        "10e-6 cm/s",
        "10E6 cells",
    ]
    + [
        "10 cm/s",
        "5",
        "nM nM",
        "mol/L.s",
        "mg/kg·day",
        "e",
        "k",
        "x",
        "M^99",
        "nm^0",
        "=",
        "µ",
        "(",
        "()",
        ")(",
        "n M",
    ]
    + ["nM" * 40, "U" * 100, "mmHg", "compounds", "active", "nM;uM", "hERG"],
)
def test_what_is_no_unit(text):
    assert parse_unit(text) is None


def test_unknown_units_are_the_same_if_their_texts_are():
    assert same_unit("foo  Bar", "Foo bar")
    assert same_unit("log10(brain/blood)", "log10 (brain / blood)")
    assert same_unit("", " ")
    # What a wrong encoding and a web page make of a unit.
    assert same_unit("ÂµM", "uM")
    assert same_unit("&micro;M", "uM")
    assert same_unit("-logM", "pIC50")
    assert not same_unit("ppm", "mg/L")
    assert not same_unit("", "nM")


@pytest.mark.parametrize(
    ("value", "text", "target", "expected"),
    [
        (5, "", task("nM"), 5),
        (5, "nM", task("nM"), 5),
        (5, "nmol/L", task("nM"), 5),
        (5, "µM", task("nM"), 5000),
        (5, "nM", task("uM"), 0.005),
        (0.3, "mM", task("uM"), 300),
        (2, "M", task("nM", high=1e10), 2e9),
        (1, "ug/mL", task("uM"), 2),
        (1, "g/L", task("mM"), 2),
        (4, "uM", task("ng/mL"), 2000),
        (50, "mg/dL", task("mM"), 1),
        (2, "h", task("min"), 120),
        (90, "s", task("min"), 1.5),
        (1, "d", task("h"), 24),
        (3, "10^-6 cm/s", task("nm/s"), 30),
        (25, "nm/s", task("10^-6 cm/s"), 2.5),
        (2e-5, "cm/s", task("1e-6 cm/s"), 20),
        (1.2, "L/h/kg", task("mL/min/kg"), 20),
        (0.05, "mL/min/mg", task("uL/min/mg"), 50),
        (1.5, "L/kg", task("mL/kg"), 1500),
        (0.85, "fraction", task("%"), 85),
        (85, "%", task("fraction"), 0.85),
        (10, "nM", P, 8),
        (10, "", P, 5),
        (0.1, "mM", P, 4),
        (7.3, "p", P, 7.3),
        (7.3, "pIC50", P, 7.3),
        (7.3, "-log10(M)", P, 7.3),
        (7.3, "-log10", P, 7.3),
        (2, "log10(nM)", P, 7),
        (-7, "log M", P, 7),
        (1, "ug/mL", P, 6 - math.log10(2)),
        (8, "p", task("nM"), 10),
        (10, "nM", task("-log10(M)"), 8),
        (10, "nM", task("pIC50"), 8),
        (6.2, "p", task("pIC50"), 6.2),
        (6.2, "", task("pIC50"), 6.2),
        (100, "", task("nM", "log10"), 2),
        (1, "uM", task("nM", "log10"), 3),
        (3, "log10(uM)", task("nM", "log10"), 6),
        (3, "log10", task("nM", "log10"), 3),
        (7, "p", task("nM", "log10"), 2),
        (100, "nM", task("log10(uM)"), -1),
        (2.302585092994046, "ln(uM)", task("log10(uM)"), 1),
        (100, "", task("", "log10"), 2),
        (1.5, "log10", task("", "log10"), 1.5),
        (10, "mL/min/kg", task("mL/min/kg", "log10"), 1),
        (5, "n/a", task("nM"), 5),
        (5, "-", task("nM"), 5),
        (5, "NM", task("nM"), 5),
        (5, "nm", task("nM"), 5),
        (5, "um", task("nM"), 5000),
        (5, "MM", task("mM"), 5),
        (5, "UG/ML", task("mg/L"), 5),
        (5, "NM", task("um"), 0.005),
        (0.3, "log10", task("log10(brain/blood)"), 0.3),
        (0.3, "", task("log10(brain/blood)"), 0.3),
        (0.3, "Log10 (brain/blood)", task("log10(brain/blood)"), 0.3),
        (2.5, "log10", task(), 2.5),
        (2.5, "p", task(), 2.5),
        (2.5, "unitless", task(), 2.5),
        (2.5, "log10", task("unitless"), 2.5),
        (7, "FOO", task("foo"), 7),
        (10, "nM", task("", "p"), 8),
        (6.5, "p", task("", "p"), 6.5),
    ],
)
def test_conversions_worked_by_hand(value, text, target, expected):
    assert convert(value, text, target, mass=500.0) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "text", "target", "expected"),
    [
        (10, "nM", P, 8.0),
        (3, "µM", task("nM"), 3000.0),
        (0.1, "", task("nM"), 0.1),
        (7.31, "p", P, 7.31),
        (1, "nM", task("nM", "p"), 9.0),
        (100000, "nM", P, 4.0),
    ],
)
def test_round_numbers_stay_round(value, text, target, expected):
    assert convert(value, text, target) == expected


@pytest.mark.parametrize(
    ("value", "text", "target", "message"),
    [
        (5, "foo", task("nM"), "unit 'foo', which is not known; the task's is 'nM'"),
        (5, "%", task("nM"), "unit '%', which measures something else; the task's is 'nM'"),
        (5, "ppm", task("ug/mL"), "unit 'ppm', which is not known"),
        (5, "nM", task(), "unit 'nM', but the task states none"),
        (5, "%", task(), "unit '%', but the task states none"),
        (5, "nM", task("foo"), "unit 'nM', but the task's is 'foo', which cannot be converted"),
        (5, "mL/min/kg", task("uL/min/mg"), "measures something else"),
        (5, "mL/min/g", task("uL/min/mg"), "measures something else"),
        (5, "mL/min/g", task("mL/min/kg"), "measures something else"),
        (5, "mL/min/g liver", task("mL/min/g"), "measures something else"),
        (5, "uL/min/10^6 cells", task("uL/min/mg"), "measures something else"),
        (5, "cm", task("cm/s"), "measures something else"),
        (5, "10E-6 cm/s", task("cm/s"), "unit '10E-6 cm/s', which is not known"),
        (5, "ug/mL", P, "needs the compound's molar mass"),
        (0, "nM", P, "0 has no logarithm"),
        (-3, "nM", task("nM", "log10"), "-3 has no logarithm"),
        (5, "", task("", "p"), "no unit is stated"),
        (5, "", task("foo", "p"), "unit 'foo' is not known"),
        (5, "", task("mL/min", "p"), "'mL/min' cannot be converted to mol/L, of which"),
        (5, "log10", task("nM"), r"logarithms \(log10\), and the task's unit is 'nM'"),
        (5, "log10", P, r"logarithms \(log10\), and the task's unit is 'uM'"),
        (5, "-log10", task("nM"), r"logarithms \(-log10\)"),
        (5, "-log10", task("nM", "log10"), r"logarithms \(-log10\)"),
        (2000, "p", task("nM"), "2000 is no logarithm of a quantity"),
        (
            12,
            "",
            task("uM", low=0, high=10),
            r"12 is outside the task's range 0 to 10 uM \(another unit\?\)",
        ),
        (
            12,
            "nM",
            task("uM", "p", low=2, high=7),
            r"7\.92082 is outside the task's range 2 to 7 \(",
        ),
    ],
)
def test_what_cannot_be_converted_says_why(value, text, target, message):
    with pytest.raises(LabelError, match=message):
        convert(value, text, target)


@pytest.mark.parametrize(
    ("target", "text", "expected"),
    [
        (task("nM"), "", 1),
        (task("nM"), "uM", 1),
        (task("nM"), "p", -1),
        (P, "", -1),
        (P, "nM", -1),
        (P, "log10(nM)", -1),
        (P, "p", 1),
        (P, "-log10", 1),
        (task("pIC50"), "", 1),
        (task("pIC50"), "nM", -1),
        (task("nM", "log10"), "uM", 1),
        (task("nM", "log10"), "p", -1),
        (task("log10(brain/blood)"), "", 1),
        (Task("x", "binary", unit="uM", scale="p", threshold=6.0), "nM", -1),
    ],
)
def test_the_direction_of_more(target, text, expected):
    """Of two numbers the larger one is the larger label, or the smaller: so are bounds."""
    assert direction(target, text) == expected
    if not target.is_classification and text != "-log10":
        low, high = convert(1.0, text, target), convert(2.0, text, target)
        assert (high > low) == (expected == 1)


def test_an_unknown_unit_has_no_direction():
    with pytest.raises(LabelError, match="not known"):
        direction(P, "foo")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("IC50 (µM)", "uM"),
        ("IC50 [nM]", "nM"),
        ("IC50_nM", "nM"),
        ("IC50 nM", "nM"),
        ("IC50/nM", "nM"),
        ("IC50, nM", "nM"),
        ("IC50 in nM", "nM"),
        ("IC50 (nmol/L)", "nmol/L"),
        ("ic50_um", "uM"),
        ("ic50_umolar", "umolar"),
        ("IC50uM", "uM"),
        ("IC50µM", "uM"),
        ("IC50.uM", "uM"),
        ("IC50..uM.", "uM"),
        ("Solubility..ug.mL.", "ug/mL"),
        ("CLint..uL.min.mg.", "uL/min/mg"),
        ("logD.7.4", "log10"),
        ("inhibition.at.10.uM", ""),
        ("Ki_nm", "nM"),
        ("IC50 (NM)", "nM"),
        ("IC50_M", "M"),
        ("EC50 (M)", "M"),
        ("Standard Value [nM]", "nM"),
        ("IC50 (nM, human)", "nM"),
        ("IC50 (human, nM)", "nM"),
        ("IC50 (uM) hERG", "uM"),
        ("hERG_IC50_uM_mean", "uM"),
        ("wavelength_nm", "nm"),
        ("Solubility (mg/mL)", "mg/mL"),
        ("solubility_ug_ml", "ug/ml"),
        ("sol_mg_per_mL", "mg/mL"),
        ("conc ug/mL", "ug/mL"),
        ("t1/2 (h)", "h"),
        ("half_life_min", "min"),
        ("T1/2 (min)", "min"),
        ("half life [h]", "h"),
        ("Papp (10^-6 cm/s)", "10^-6 cm/s"),
        ("Caco-2 Papp [1e-6 cm/s]", "1e-6 cm/s"),
        ("papp_cm_s", "cm/s"),
        ("CL (mL/min/kg)", "mL/min/kg"),
        ("clint_ul_min_mg", "ul/min/mg"),
        ("CLint uL/min/10^6 cells", "uL/min/10^6 cells"),
        ("CLint (µL/min/mg)", "uL/min/mg"),
        ("Vss (L/kg)", "L/kg"),
        ("AUC (ug.h/mL)", "ug.h/mL"),
        ("LD50 (mg/kg)", "mg/kg"),
        ("F (%)", "%"),
        ("Inhibition %", "%"),
        ("% Inhibition", "%"),
        ("percent_inhibition", "%"),
        ("inhibition_pct", "%"),
        ("PPB (% bound)", "%"),
        ("% inhibition at 10 uM", "%"),
        ("inhibition 10-20 uM", ""),
        ("% inhibition 10-20 uM", "%"),
        ("Inhibition at 10 uM (%)", "%"),
        ("pIC50", "p"),
        ("SLC6A4_pIC50", "p"),
        ("pChEMBL Value", "p"),
        ("pchembl_value", "p"),
        ("pKi (hERG)", "p"),
        ("PIC50", "p"),
        ("log10(IC50/uM)", "log10(uM)"),
        ("log IC50 (nM)", "log10(nM)"),
        ("-log10(IC50/M)", "-log10(M)"),
        ("-log M", "-log10(M)"),
        ("LOG HLM_CLint (mL/min/kg)", "log10(mL/min/kg)"),
        ("LOG SOLUBILITY PH 6.8 (ug/mL)", "log10(ug/mL)"),
        ("logS", "log10"),
        ("logD7.4", "log10"),
        ("logP", "log10"),
        ("log_ki", "log10"),
        ("logic50", "log10"),
        ("-logIC50", "-log10"),
        ("neg_log_ic50", "-log10"),
        ("lnCL", "ln"),
        ("ln(AUC)", "ln"),
        ("logbb", "log10"),
        ("measured log solubility in mols per litre", "log10(mols per litre)"),
        ("hERG_logIC50", "log10"),
        ("fraction_unbound", "fraction"),
        ("catalog number", ""),
        # Half-lives, of which a stroke divides nothing, and forgotten blanks.
        ("t1/2_min", "min"),
        ("T1/2, h", "h"),
        ("t½ min", "min"),
        ("t1/2h", "h"),
        ("IC50nM", "nM"),
        ("Solubility (log M)", "log M"),
        # Powers of ten beside the unit; those that may be meant in two ways are no unit.
        ("Papp_10-6_cm/s", "10^-6 cm/s"),
        ("Papp (cm/s x 10^-6)", "10^-6 cm/s"),
        ("Papp (cm/s) x 10⁻⁶", "10^-6 cm/s"),
        ("solubility at pH 10-7 (uM)", "uM"),
        # No unit, or that of something else.
        ("IC50", ""),
        ("Ki", ""),
        ("value", ""),
        ("Standard Value", ""),
        ("x", ""),
        ("task1", ""),
        ("solubility", ""),
        ("", ""),
        ("Inhibition @ 10 µM", ""),
        ("inh_10_uM", ""),
        ("inhibition at 10 uM", ""),
        ("viability at 5 ug/mL", ""),
        ("IC50 (10 uM ATP)", ""),
        ("IC50_min", ""),
        ("Replicate(s)", ""),
        ("Compound(s)", ""),
        ("pKa", ""),
        ("percentile", ""),
        ("login", ""),
        ("logistic", ""),
        ("logger", ""),
        ("AC50 (n=3)", ""),
        ("BBB (M)", "M"),
        ("group_M", ""),
        ("SMILES", ""),
        ("smiles", ""),
        ("ALogP", ""),
        ("pH", ""),
    ],
)
def test_units_in_names_of_columns(name, unit):
    assert unit_of_name(name) == unit
    if unit:
        assert parse_unit(unit) is not None


# --- properties -----------------------------------------------------------------------------------

KINDS = [
    [
        "M",
        "mM",
        "µM",
        "nmol/L",
        "pM",
        "mg/mL",
        "µg.mL-1",
        "ng/mL",
        "log10(nM)",
        "-log10(M)",
        "ln(uM)",
    ],
    ["s", "min", "h", "ms", "d"],
    ["cm/s", "10^-6 cm/s", "nm/s", "ucm/s"],
    ["mL/min/kg", "L/h/kg", "uL.min-1.kg-1", "log10(mL/min/kg)"],
    ["%", "fraction"],
]
PAIRS = st.sampled_from(KINDS).flatmap(lambda units: st.tuples(*[st.sampled_from(units)] * 2))


@given(st.floats(-3, 3), PAIRS, st.floats(50, 2000))
def test_there_and_back_is_the_same(exponent, pair, mass):
    first, second = pair
    value = exponent if parse_unit(first).slope else 10**exponent
    wide = {"low": -1e300, "high": 1e300}
    there = convert(value, first, task(second, **wide), mass)
    back = convert(there, second, task(first, **wide), mass)
    assert back == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), PAIRS, st.floats(50, 2000))
def test_order_is_kept_or_turned_as_the_direction_says(one, other, pair, mass):
    first, second = pair
    if parse_unit(first).slope:
        one, other = math.log10(one), math.log10(other)
    target = task(second, low=-1e300, high=1e300)
    turn = direction(target, first)
    low, high = convert(one, first, target, mass), convert(other, first, target, mass)
    assert turn * (high - low) * (other - one) >= 0


@given(st.text(max_size=20))
def test_any_text_is_a_unit_or_not(text):
    assert is_unit(text) in (True, False)
    assert same_unit(text, text)
    assert isinstance(unit_of_name(text), str)
    for target in (P, task("nM"), task()):
        with contextlib.suppress(LabelError):
            assert math.isfinite(convert(5.0, text, target, 300.0))


def test_a_conversion_costs_little():
    start = time.process_time()
    for _ in range(20_000):
        convert(5.2, "nmol·L⁻¹", P)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "name", ["Papp x 10^6 (cm/s)", "Papp (10E-6 cm/s)", "Papp 10exp-6 cm/s", "10^6*Papp, cm/s"]
)
def test_a_power_of_ten_that_may_be_meant_in_two_ways_is_refused(name):
    with pytest.raises(LabelError, match="is not known"):
        convert(5.0, unit_of_name(name), Task("x", "regression", unit="10^-6 cm/s"))


def test_clearance_per_body_weight():
    task = Task("x", "regression", unit="mL/min/kg")
    assert convert(5.0, "mL/min/kg bw", task) == convert(5.0, "mL/min/kg body weight", task) == 5.0
