"""Tables of the README: sizes, balance, overlaps and coverage of the demonstration data.

`build.py --report` runs this and prints the tables as markdown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

NEAR = 0.4


def show(title: str, columns: Iterable[str], lines: Iterable[Iterable[Any]]) -> None:
    """Print a markdown table."""
    columns = list(columns)
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for line in lines:
        print(f"| {' | '.join(str(cell) for cell in line)} |")


def sizes(
    name: str, tables: dict[str, pd.DataFrame], facts: pd.DataFrame, public: set[str]
) -> dict[str, Any]:
    """Return one line on a labelled table.

    Parameters
    ----------
    name : str
        Table to describe.
    tables : dict of str to pandas.DataFrame
        All labelled tables, one line per raw row.
    facts : pandas.DataFrame
        The table's connectivities, folded, by key.
    public : set of str
        Keys of the public set.

    Returns
    -------
    dict of str to Any
        Cells by column title.
    """
    table, keys = tables[name], set(facts.index)
    others = [tables[other]["key"] for other in tables if other not in (name, "external")]
    valued = table[table["logbb"] != ""] if name != "corvus" else table.head(0)
    numbers = pd.to_numeric(valued["logbb"])
    return {
        "table": name,
        "rows": len(table),
        "keys": len(facts),
        "BBB+": (facts["bbb"] == 1).sum(),
        "BBB-": (facts["bbb"] == 0).sum(),
        "both": facts["bbb"].between(0, 1, inclusive="neither").sum(),
        "BBB+ share of keys": f"{facts['bbb'].mean():.1%}",
        "logBB rows": len(valued),
        "logBB keys": valued["key"].nunique(),
        "logBB mean (sd)": f"{numbers.mean():.2f} ({numbers.std():.2f})" if len(valued) else "",
        "keys a (second) partner holds": len(keys & set(pd.concat(others))),
        "keys in public": len(keys & public),
    }


def report_labels(tables: dict[str, pd.DataFrame], folded: pd.DataFrame, public: set[str]) -> None:
    """Print sizes, class balance, logBB counts, chemistry and overlaps of the labelled tables."""
    facts = {name: folded.loc[sorted(set(table["key"]))] for name, table in tables.items()}
    lines = [sizes(name, tables, facts[name], public) for name in tables]
    show("Labelled tables", lines[0], (line.values() for line in lines))
    kinds = sorted(folded["chemistry"].unique())
    shares = {
        name: table["chemistry"].value_counts(normalize=True) for name, table in facts.items()
    }
    cells = [[name, *(f"{share.get(k, 0):.0%}" for k in kinds)] for name, share in shares.items()]
    show("Chemistry, share of keys", ["table", *kinds], cells)
    partners = [name for name in tables if name != "external"]
    both = {
        (a, b): len(facts[a].index.intersection(facts[b].index)) if a != b else ""
        for a in partners
        for b in partners
    }
    cells = [[a, *(both[a, b] for b in partners)] for a in partners]
    show("Keys held by two partners", ["", *partners], cells)


def nearest(queries: pd.Series, targets: pd.Series) -> np.ndarray:
    """Return the nearest and the mean of the three nearest Tanimoto similarities of each query.

    Parameters
    ----------
    queries, targets : pandas.Series
        Standardised SMILES by connectivity key; a target with the query's own key is left out.

    Returns
    -------
    numpy.ndarray
        One row a query, two columns.
    """
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint
    prints = [make(Chem.MolFromSmiles(smiles)) for smiles in targets]
    place = {key: i for i, key in enumerate(targets.index)}
    result = []
    for key, smiles in queries.items():
        query = make(Chem.MolFromSmiles(smiles))
        values = np.array(DataStructs.BulkTanimotoSimilarity(query, prints))
        if key in place:
            values[place[key]] = 0.0
        best = np.partition(values, -3)[-3:]
        result.append((best.max(), best.mean()))
    return np.array(result)


def coverage(queries: pd.Series, part: pd.DataFrame) -> list[str]:
    """Return median and 90th percentile of 1-NN and 3-NN, and the share with a near neighbour."""
    near = nearest(queries, part.set_index("key")["standard"])
    quantiles = np.quantile(near, [0.5, 0.9], axis=0).T.ravel()
    return [*(f"{value:.2f}" for value in quantiles), f"{(near[:, 0] >= NEAR).mean():.1%}"]


def report_public(
    tables: dict[str, pd.DataFrame], folded: pd.DataFrame, public: pd.DataFrame
) -> None:
    """Print what the public set is made of and how near it is to the labelled compounds."""
    groups = {name: set(table["key"]) for name, table in tables.items()}
    private = set().union(*(groups[name] for name in groups if name != "external"))
    parts = {name: public[public["source"] == name] for name in ("nci", "moses", "b3db")}
    parts |= {"nci + moses": public[public["source"] != "b3db"], "all": public}
    counts = [[name, len(part), part["key"].isin(private).sum()] for name, part in parts.items()]
    show("Public set", ["source", "compounds", "keys a partner holds"], counts)
    lines = []
    for group, keys in {"external": groups.pop("external"), "private": private, **groups}.items():
        queries = folded.loc[sorted(keys), "standard"]
        for name in ("nci + moses", "all") if group in groups else parts:
            lines.append([group, name, *coverage(queries, parts[name])])
    columns = "compounds,public part,1-NN median,1-NN 90th pct,3-NN median,3-NN 90th pct"
    columns += f",share with 1-NN >= {NEAR}"
    show("Coverage by the public set (ECFP4 Tanimoto)", columns.split(","), lines)


def report(
    tables: dict[str, pd.DataFrame],
    folded: pd.DataFrame,
    public: pd.DataFrame,
    files: dict[str, bytes],
) -> None:
    """Print every table of the README.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        Raw rows of the partners and of the external test set, with their keys.
    folded : pandas.DataFrame
        One line per connectivity: standard, bbb (mean label), chemistry.
    public : pandas.DataFrame
        Public set with key, standard and source.
    files : dict of str to bytes
        Files to give the SHA-256 of.
    """
    report_labels(tables, folded, set(public["key"]))
    report_public(tables, folded, public)
    both = sorted(folded.index[folded["bbb"].between(0, 1, inclusive="neither")])
    print(f"\n### Connectivities with both labels ({len(both)})\n\n```text")
    for start in range(0, len(both), 6):
        print(" ".join(both[start : start + 6]))
    print("```")
    lines = [[f"`{name}`", hashlib.sha256(data).hexdigest()] for name, data in files.items()]
    show("SHA-256", ["file", "SHA-256"], lines)
