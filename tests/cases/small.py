"""Small tables of kinds that people have, and what must be read of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

SMILES = ("CCO", "CCCO", "CCCCO", "CCCCCO", "CCCCCCO", "CCCCCCCO")


@dataclass(frozen=True)
class Case:
    """A table, how it is given to a command, and what must come of it.

    Attributes
    ----------
    content
        The file; in a text, ``@1`` to ``@6`` stand for six SMILES.
    tasks
        As ``fluid init-federation --task`` takes them, or settings of a task by name.
    options
        Of the command.
    labels
        By task, what is learned of the six compounds: a number or class, a text with a sign for a
        bound, None for nothing.
    error
        What the command says if it must refuse the table.
    says
        What the report must say otherwise.
    """

    content: str | bytes
    tasks: Sequence[str] = ("x:regression",)
    options: Sequence[str] = ()
    labels: dict[str, list[object]] = field(default_factory=dict)
    error: str = ""
    says: Sequence[str] = ()
    suffix: str = ".csv"
    rules: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        if isinstance(self.content, bytes):
            return self.content
        text = self.content
        for number, smiles in enumerate(SMILES, start=1):
            text = text.replace(f"@{number}", smiles)
        return text.encode()


def column(values: Sequence[object], name: str = "x", mark: str = ",") -> str:
    """A table of SMILES and one column."""
    rows = [f"@{number}{mark}{value}" for number, value in enumerate(values, start=1)]
    return "\n".join([f"smiles{mark}{name}", *rows]) + "\n"


def long(rows: Sequence[str], header: str) -> str:
    """A table with one row per line."""
    return "\n".join([header, *rows]) + "\n"


def X(*values: object) -> dict[str, list[object]]:
    """What is learned of the only task."""
    return {"x": list(values)}


NUMBERS = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5)
NM = long(
    [f"@{n};IC50;'{s}';{v};{u}" for n, s, v, u in (
        (1, "=", 10, "nM"), (2, ">", 10000, "nM"), (3, "~", 1, "uM"),
        (4, ">=", 30, "µM"), (5, "<", 0.1, "nM"), (6, "=", 100, "nmol/L"),
    )],
    "Smiles;Standard Type;Standard Relation;Standard Value;Standard Units",
)  # fmt: skip

CASES: dict[str, Case] = {
    # --- columns: exact names before similar ones, two candidates never guessed ---
    "exact name of two that are alike": Case(
        long([f"@{n},-{v},{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,log P,log-P"),
        options=("--label", "x=log-P"), labels=X(*NUMBERS),
    ),
    "two that are alike, and neither exact": Case(
        long(["@1,4,5"], "smiles,log P,log-P"), options=("--label", "x=log_p"),
        error="columns 'log P' and 'log-P' both read as the label column 'log_p'",
    ),
    "the task's own name, exact before alike": Case(
        long([f"@{n},{v},-{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,x,X"),
        labels=X(*NUMBERS),
    ),
    "two columns read as the task": Case(
        long(["@1,4,5"], "smiles,log D,log-d"), tasks=("log_d:regression",),
        error="columns 'log D' and 'log-d' both read as task 'log_d'; .*--label log_d=COLUMN",
    ),
    "a column that nobody reads may occur twice": Case(
        long([f"@{n},{v},a,b" for n, v in enumerate(NUMBERS, 1)], "smiles,x,Comment,comment"),
        labels=X(*NUMBERS),
    ),
    "a column that is read may not": Case(
        long(["@1,4,5"], "smiles,x,x"), error="columns 'x' and 'x' both read as task 'x'",
    ),
    "a label for one task leaves the others alone": Case(
        long([f"@{n},{n % 2},{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,class of x,y"),
        tasks=("x:binary", "y:regression"), options=("--label", "x=class of x"),
        labels={"x": [1, 0, 1, 0, 1, 0], "y": list(NUMBERS)},
    ),
    "the unit in a column's name": Case(
        column([1, 10, 100, 1000, 2000, 3000], "x (nM)"), tasks=("x:regression:uM",),
        labels=X(0.001, 0.01, 0.1, 1.0, 2.0, 3.0),
        says=("its name is the task's name with a unit",),
    ),
    **{
        f"the task's name and its unit as in {name}": Case(
            column([1, 10, 100, 1000, 2000, 3000], name), tasks=("IC50:regression:uM",),
            labels={"IC50": [0.001, 0.01, 0.1, 1.0, 2.0, 3.0]},
        )
        for name in (
            "IC50..nM.", "IC50.nM", "IC50nM", "ic50_nm", "IC50 in nM", "ic50_nmolar", "IC50 (NM)",
        )
    },
    "0/1 flags beside a column of numbers": Case(
        long([f"@{n},{v},{n % 2}" for n, v in enumerate(NUMBERS, 1)], "smiles,pIC50,activity"),
        error="both 'activity' and 'pIC50' may hold it; choose with --label x=COLUMN",
    ),
    "two columns of values": Case(
        long([f"@{n},{v},{n}" for n, v in enumerate(NUMBERS, 1)], "smiles,value,result"),
        error="both 'value' and 'result' may hold it; choose with --label",
    ),
    "one column of values, beside a year": Case(
        long([f"@{n},{v},{2000 + n}" for n, v in enumerate(NUMBERS, 1)], "smiles,value,year"),
        labels=X(*NUMBERS), says=("this is the only one that may hold it",),
    ),
    "no column at all": Case(
        long(["@1,4"], "smiles,other"),
        error="no column for any task \\(x\\) and no long layout; the columns are 'smiles', 'oth",
    ),
    # --- numbers that may mean something else ---
    "a code for missing values": Case(
        column([4, 4.5, -999, 5.5, 6, 6.5]), labels=X(4, 4.5, -999, 5.5, 6, 6.5),
        says=("1 values are -999, far from all others",),
    ),
    "a code for missing values, outside the range": Case(
        column([4, 4.5, -999, 5.5, 6, 6.5]), tasks=("x:regression::0:14",),
        labels=X(4, 4.5, None, 5.5, 6, 6.5),
    ),
    "pIC50 in a column that does not say so": Case(
        column([4.1, 4.5, 5.2, 5.5, 6.3, 6.5]), tasks=("x:regression:nM",), rules='scale = "p"',
        says=("all lie between 3 and 12 like -log10 of mol/L",),
    ),
    # --- one table writes its numbers in one way ---
    "a long table, of which one task shows what the points of the other are": Case(
        long([f"@{n};a;1.{n}00,5" for n in range(1, 7)] + [f"@{n};b;{n}.234" for n in range(1, 7)],
             "smiles;task;value"),
        tasks=("a:regression", "b:regression"),
        labels={"a": [1100.5, 1200.5, 1300.5, 1400.5, 1500.5, 1600.5],
                "b": [1234, 2234, 3234, 4234, 5234, 6234]},
    ),
    "a long table, of which one task shows what the commas of the other are": Case(
        long([f"@{n};a;{n},5" for n in range(1, 7)] + [f"@{n};b;{n},234" for n in range(1, 7)],
             "smiles;task;value"),
        tasks=("a:regression", "b:regression"),
        labels={"b": [1.234, 2.234, 3.234, 4.234, 5.234, 6.234]},
    ),
    "a long table, of which two tasks are written in two ways": Case(
        long([f"@{n};a;{n},5" for n in range(1, 7)] + [f"@{n};b;{n}.5" for n in range(1, 7)],
             "smiles;task;value"),
        tasks=("a:regression", "b:regression"),
        labels={"a": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5], "b": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]},
    ),
    "points before three digits beside a column with decimal commas": Case(
        long([f"@{n};{n},5;{n}.234" for n in range(1, 7)], "smiles;a;b"),
        tasks=("a:regression", "b:regression"),
        error="column 'b', task b: '1.234' may be 1234 or 1.234, for column 'a', task a has a "
        "decimal comma; say which with --decimal and --thousands",
    ),
    "the same with the mark": Case(
        long([f"@{n};{n},5;{n}.234" for n in range(1, 7)], "smiles;a;b"),
        tasks=("a:regression", "b:regression"), options=("--decimal", ","),
        labels={"b": [1234, 2234, 3234, 4234, 5234, 6234]},
    ),
    # --- SMILES and names ---
    **{
        f"SMILES are called {name}": Case(
            column(NUMBERS).replace("smiles", name), labels=X(*NUMBERS)
        )
        for name in (
            "PUBCHEM_EXT_DATASOURCE_SMILES", "PUBCHEM_OPENEYE_CAN_SMILES", "Canonical SMILES",
            "CanonicalSMILES", "Ligand SMILES", "MOL_smiles", "OPENADMET_SMILES", "rdkit_smiles",
            "cxsmiles", "Smiles", "SMILES String", "isosmiles", "Structure (SMILES)", "smi",
        )
    },
    "'Molecule' is a name beside SMILES": Case(
        long([f"Compound {n},@{n},{v}" for n, v in enumerate(NUMBERS, 1)],
             "Molecule,SMILES String,x"),
        labels=X(*NUMBERS), says=('"Molecule", "role": "id"',),
    ),
    "SMILES of PubChem, of which one is isomeric": Case(
        long([f"C,@{n},{v}" for n, v in enumerate(NUMBERS, 1)],
             "PUBCHEM_OPENEYE_CAN_SMILES,PUBCHEM_OPENEYE_ISO_SMILES,x"),
        labels=X(*NUMBERS),
    ),
    "two SMILES columns of equal rank": Case(
        long(["@1,@2,4"], "Ligand SMILES,Vendor SMILES,x"),
        error="columns 'Ligand SMILES' and 'Vendor SMILES' may both hold the SMILES; choose with "
        "--smiles-column",
    ),
    "no names of compounds": Case(
        column(NUMBERS), labels=X(*NUMBERS), says=("no column of compound names was found",),
    ),
    # --- qualifiers and units ---
    **{
        f"signs in {name}": Case(
            long([f"@{n},{v},{'>' if n % 2 else '='}" for n, v in enumerate(NUMBERS, 1)],
                 f"smiles,IC50,{name}"),
            options=("--label", "x=IC50"), labels=X(">4", 4.5, ">5", 5.5, ">6", 6.5),
        )
        for name in (
            "IC50_qualifier", "IC50 relation", "qualifier IC50", "IC50_operator", "IC50 prefix",
            "IC50 modifier", "Relation", "PREFIX", "x_sign", "Standard Relation", "IC50 Qual",
        )
    },
    "a column of signs beside the values, whatever its name": Case(
        long([f"@{n},{'<' if n % 2 else '='},{v}" for n, v in enumerate(NUMBERS, 1)],
             "smiles,q,x"),
        labels=X("<4", 4.5, "<5", 5.5, "<6", 6.5), says=("holds nothing but signs",),
    ),
    "a column of signs elsewhere": Case(
        long([f"{'<' if n % 2 else '='},@{n},{v}" for n, v in enumerate(NUMBERS, 1)],
             "cens,smiles,x"),
        labels=X(*NUMBERS), says=("column 'cens' holds nothing but signs .* and is not read",),
    ),
    "signs and units of ChEMBL belong to their own value": Case(
        long([f"@{n};IC50;'>';1000;nM;{v}" for n, v in enumerate(NUMBERS, 1)],
             "Smiles;Standard Type;Standard Relation;Standard Value;Standard Units;pChEMBL Value"),
        tasks=("x:regression:pIC50:0:14",), options=("--label", "x=pChEMBL Value"),
        labels=X(*NUMBERS),
    ),
    "signs of ChEMBL, in quotes, and several units": Case(
        NM, tasks=("IC50:regression:nM",),
        labels={"IC50": [10, ">10000", 1000, ">30000", "<0.1", 100]},
    ),
    "the same as pIC50": Case(
        NM, tasks=("IC50:regression:nM",), rules='scale = "p"',
        labels={"IC50": [8, "<5", 6, "<4.5228787", ">10", 7]},
    ),
    "two tasks, each with its signs and units": Case(
        long([f"@{n},{v},nM,{'>' if n < 4 else ''},{v},mM,{'<' if n > 3 else ''}"
              for n, v in enumerate(NUMBERS, 1)],
             "smiles,a,a unit,a qualifier,b,unit of b,b_operator"),
        tasks=("a:regression:nM", "b:regression:M"), options=("--unit", "b=unit of b"),
        labels={"a": [">4", ">4.5", ">5", 5.5, 6, 6.5],
                "b": [0.004, 0.0045, 0.005, "<0.0055", "<0.006", "<0.0065"]},
    ),
    "two candidates for the signs": Case(
        long(["@1,4,>,<"], "smiles,x,x_qualifier,x relation"),
        error="may both be the qualifier of 'x'; choose with --qualifier x=COLUMN",
    ),
    "one of them is named": Case(
        long([f"@{n},{v},>,=" for n, v in enumerate(NUMBERS, 1)],
             "smiles,x,x_qualifier,x relation"),
        options=("--qualifier", "x=x relation"), labels=X(*NUMBERS),
    ),
    "pChEMBL values beside the relation of another column": Case(
        long([f"@{n},{v},>,uM" for n, v in enumerate(NUMBERS, 1)],
             "smiles,pchembl_value,relation,units"),
        options=("--label", "x=pchembl_value"), labels=X(*NUMBERS),
        says=("'relation' holds nothing but signs \\(>\\) and is not read",),
    ),
    "PubChem's line of units": Case(
        long(["RESULT_TYPE,,FLOAT", "RESULT_UNIT,,MICROMOLAR",
              *(f"{n},@{n},{v}" for n, v in enumerate(NUMBERS, 1))],
             "PUBCHEM_RESULT_TAG,PUBCHEM_EXT_DATASOURCE_SMILES,Potency"),
        tasks=("x:regression:nM",), options=("--label", "x=Potency"),
        labels=X(*(1000 * v for v in NUMBERS)),
    ),
    "units that stand behind other numbers": Case(
        long([f"@{n},{v},5,nM" for n, v in enumerate(NUMBERS, 1)], "smiles,x,dose,unit"),
        tasks=("x:regression:uM",),
        error="'unit' may be the unit of 'x' or of 'dose'; rename it, or choose with --unit x=",
    ),
    "units that stand behind numbers without any": Case(
        long([f"@{n},{v},.1,3,7.4,nM" for n, v in enumerate(NUMBERS, 1)],
             "smiles,x,sd,n,pH,unit"),
        tasks=("x:regression:uM",), labels=X(*(v / 1000 for v in NUMBERS)),
    ),
    "signs between two columns of numbers": Case(
        long([f"@{n},{v},>,5" for n, v in enumerate(NUMBERS, 1)], "smiles,x,mod,y"),
        labels=X(*(f">{v:g}" for v in NUMBERS)), says=("the qualifier of 'x' or of 'y', and is",),
    ),
    "signs before each column of numbers": Case(
        long([f"@{n},>,{v},<,{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,mod,x,mod,y"),
        tasks=("x:regression", "y:regression"),
        labels={"x": [f">{v:g}" for v in NUMBERS], "y": [f"<{v:g}" for v in NUMBERS]},
    ),
    "signs behind each column of numbers": Case(
        long([f"@{n},{v},>,{v},<" for n, v in enumerate(NUMBERS, 1)], "smiles,x,mod,y,mod.1"),
        tasks=("x:regression", "y:regression"),
        labels={"x": [f">{v:g}" for v in NUMBERS], "y": [f"<{v:g}" for v in NUMBERS]},
    ),
    "flags of censored values": Case(
        long([f"@{n},{v},{n % 2}" for n, v in enumerate(NUMBERS, 1)], "smiles,x,is_censored"),
        labels=X(*NUMBERS), says=("'is_censored' may say which values are bounds",),
    ),
    "signs among remarks": Case(
        long([f"@{n},{v},{'>' if n == 1 else 'ok'}" for n, v in enumerate(NUMBERS, 1)],
             "smiles,x,x_flag"),
        labels=X(*NUMBERS), says=("'x_flag' may say which values are bounds",),
    ),
    "a column that occurred twice before pandas": Case(
        long([f"@{n},{v},{-v}" for n, v in enumerate(NUMBERS, 1)], "smiles,x,x.1"),
        labels=X(*NUMBERS), says=("'x.1', which pandas makes of a second column",),
    ),
    "two classes as numbers": Case(
        column([0, 1, 0, 1, 1, 0]), labels=X(0, 1, 0, 1, 1, 0),
        says=("all values are 0 or 1, as of two classes",),
    ),
    "numbers that are not what the task's name says": Case(
        column([10, 100, 1000, 1, 2, 3], "IC50 (nM)"), tasks=("pIC50:regression",),
        options=("--label", "pIC50=IC50 (nM)"),
        labels={"pIC50": [10, 100, 1000, 1, 2, 3]},
        says=("values are in nM, but the task's name says p",),
    ),
    "spellings of one unit": Case(
        long([f"@{n},x,{v},{u}" for n, (v, u) in enumerate(
            zip(NUMBERS, ("µM", "μM", "uM", "umol/L", "microM", "μmol·L⁻¹"), strict=True), 1)],
             "smiles,task,value,unit"),
        tasks=("x:regression:uM",), labels=X(*NUMBERS),
    ),
    "two units, and no unit in the contract": Case(
        long([f"@{n},x,{v},nM\n@{n},x,{v},uM" for n, v in enumerate(NUMBERS, 1)],
             "smiles,task,value,unit"),
        error="task x: values in nM \\(6\\), uM \\(6\\), and the federation states no unit",
    ),
    "one unit, and no unit in the contract": Case(
        long([f"@{n},x,{v},nM" for n, v in enumerate(NUMBERS, 1)], "smiles,task,value,unit"),
        labels=X(*NUMBERS), says=("all values are in nM",),
    ),
    "mass per volume by the compound's own weight": Case(
        column(["46.069 ug/mL", "60.096 mg/L", "", "", "", ""]), tasks=("x:regression:uM",),
        labels=X(1000, 1000, None, None, None, None),
    ),
    # --- long tables ---
    "a long table with other names than the tasks'": Case(
        long([f"@{n},hERG-QPatch,{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,assay,value"),
        error="column 'assay' names none of the tasks \\('x'\\), but 'hERG-QPatch' \\(6\\)",
    ),
    "a source gives the name": Case(
        long([f"@{n},hERG-QPatch,{v}" for n, v in enumerate(NUMBERS, 1)], "smiles,assay,value"),
        rules='source = "hERG-QPatch"', labels=X(*NUMBERS),
    ),
    "other names beside the task's are told": Case(
        long([f"@{n},x,{v}\n@{n},y,3" for n, v in enumerate(NUMBERS, 1)], "smiles,endpoint,value"),
        labels=X(*NUMBERS), says=("also holds 'y' \\(6\\), which are not tasks here",),
    ),
    "two columns that name tasks": Case(
        long(["@1,x,x,4", "@2,x,x,5"], "smiles,task,assay,value"),
        error="columns 'task' and 'assay' both hold names of tasks; choose with --task-column",
    ),
    "a task of both layouts": Case(
        long(["@1,x,4,5,x", "@2,y,5,6,x"], "smiles,task,value,x,note"),
        tasks=("x:regression", "y:regression"), labels={"x": [5, 6, None, None, None, None]},
    ),
    # --- numbers ---
    "decimal commas": Case(
        column(["4,0", "4,5", "5,07", "5,5", "6", "6,5"], mark=";"),
        labels=X(4, 4.5, 5.07, 5.5, 6, 6.5), says=("decimal comma",),
    ),
    "decimal commas in part": Case(
        column(["4", "4,5", "5", "5,5", "6", "6,5"], mark=";"), labels=X(*NUMBERS),
    ),
    "thousands": Case(
        column(["1.234,5", "12", "1.000.000,0", "3,5", "7", "8"], mark=";"),
        labels=X(1234.5, 12, 1e6, 3.5, 7, 8), says=("thousands",),
    ),
    "a mark that may be either": Case(
        column(["1,234", "2,345", "3,456", "4", "5", "6"], mark=";"),
        error="column 'x', task x: .*may be .*--decimal",
    ),
    "a mark that may be either, and is told": Case(
        column(["1,234", "2,345", "3,456", "4", "5", "6"], mark=";"), options=("--decimal", ","),
        labels=X(1.234, 2.345, 3.456, 4, 5, 6),
    ),
    "half with a comma and half with a point": Case(
        column(["4.1", "4,5", "5.1", "5,5", "6.1", "6,5"], mark=";"),
        error="'4.1' has a decimal point and '4,5' a decimal comma",
    ),
    "marks of missing values": Case(
        column(["#N/A", "n/a", "not tested", "--", "<NA>", "6.5"]),
        labels=X(None, None, None, None, None, 6.5),
    ),
    "decorations": Case(
        column(["−4.0", "≤4.5", "~5", "5.5 ± 0.2", "6.0 nM", "5-10"]),
        labels=X(-4, "<4.5", 5, None, None, None),
        says=("with its error", "is a range", "the task states none"),
    ),
    # --- classes ---
    "a dash beside 1 and 0 is missing": Case(
        column(["-", 0, "-", 1, 0, 1]), tasks=("x:binary",), labels=X(None, 0, None, 1, 0, 1),
        says=("read as missing, for there is no",),
    ),
    "a dash opposite plus is negative": Case(
        column(["-", "+", "+/-", "-", "+", "-"]), tasks=("x:binary",),
        labels=X(0, 1, None, 0, 1, 0),
    ),
    "1.00 and 0.00": Case(
        column(["1.00", "0.00", "1.00", "0.00", "1.0", "0"]), tasks=("x:binary",),
        labels=X(1, 0, 1, 0, 1, 0),
    ),
    "words for which no one knows the positive": Case(
        column(["blocker", "non-blocker"] * 3), tasks=("x:binary",),
        error="no usable label among 6 rows: x: 6 values are rejected: .*which of 'blocker'",
    ),
    "a flag made of numbers by a threshold": Case(
        column([4, 5, ">6", "<5", ">4", 7]), tasks=("x:binary",), rules="threshold = 6.0",
        labels=X(0, 0, 1, 0, None, 1),
    ),
    # --- replicates and what is lost ---
    "replicates far apart": Case(
        long([f"@{n},{v + shift}" for n, v in enumerate(NUMBERS, 1) for shift in (0, 3)] +
             [f"{'C' * n}N,{n % 7}" for n in range(3, 12)], "smiles,x"),
        labels=X(*(v + 1.5 for v in NUMBERS)),
        says=("6 of 6 compounds with several values .* median difference 3",),
    ),
    "replicates further apart than the task allows": Case(
        long([f"@{n},{v + shift}" for n, v in enumerate(NUMBERS, 1) for shift in (0, n)],
             "smiles,x"),
        rules="max_spread = 3.0", labels=X(4.5, 5.5, 6.5, None, None, None),
    ),
    "all of a task is lost": Case(
        long([f"@{n},{v},999" for n, v in enumerate(NUMBERS, 1)], "smiles,x,y"),
        tasks=("x:regression", "y:regression:nM:0:10"),
        error="all values of task y: 6 values are rejected: 999 is outside .*--allow-empty",
    ),
    "and that is allowed": Case(
        long([f"@{n},{v},999" for n, v in enumerate(NUMBERS, 1)], "smiles,x,y"),
        tasks=("x:regression", "y:regression:nM:0:10"), options=("--allow-empty",),
        labels={"x": list(NUMBERS)},
    ),
    "the largest third is lost": Case(
        column([1, 2, 3, 4, 50, 60]), tasks=("x:regression::0:10",),
        labels=X(1, 2, 3, 4, None, None),
        says=("2 of 6 values are rejected, such as: 50 is outside", "100% of .* to 60"),
    ),
    "a floor that carries no sign": Case(
        "smiles,x\n" + "\n".join(
            f"{'C' * n}O,{max(3, n / 2 - 5) + (0.01 * n if n > 16 else 0)}" for n in range(2, 62)
        ) + "\n",
        labels=X(3, 3, 3, 3, 3, 3), says=("are exactly 3, the lowest: if this is a limit",),
    ),
    "no structure at all": Case(
        long(["a,4", "b,5"], "Molecule,x"),
        error="no usable structure among 2 rows, of which column 'Molecule' was read as SMILES",
    ),
    "a header alone": Case("smiles,x\n", error="a header but no rows"),
}  # fmt: skip
