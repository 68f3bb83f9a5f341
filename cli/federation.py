"""Commands that set up a federation: init-federation, keygen, register, prepare-public."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import Progress, command, emit, pairs
from fluid.cli.options import (
    CoordinatorKey,
    FederationFile,
    IdColumn,
    Jobs,
    Json,
    Scheduler,
    Seed,
    SmilesColumn,
)
from fluid.cli.outputs import (
    REJECTS_HEADER,
    is_sealed,
    output_file,
    rejects_beside,
    starts_with,
    tidy,
)

if TYPE_CHECKING:
    from fluid.public.prepare import PublicSummary


@command
def init_federation(
    name: Annotated[str, typer.Option(help="Name of the federation.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME:KIND[:DETAIL]; kind is binary, multiclass or regression; the detail is the "
            "classes separated by commas, negative first, or UNIT[:LOW:HIGH]. May be given "
            "repeatedly."
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(
            help="Table with a row a task, for rules and many tasks; columns name, kind, and any "
            "of source, unit, scale, low, high, classes (separated by |), threshold, direction, "
            "replicates, max_spread, quorum, quorum_exact, min_partners, weight."
        ),
    ] = None,
    fingerprint: Annotated[str, typer.Option(help="'ecfp' or 'fcfp'.")] = "ecfp",
    radius: Annotated[int, typer.Option(help="Morgan radius; 2 gives ECFP4.")] = 2,
    bits: Annotated[int, typer.Option(help="Length of the folded fingerprint.")] = 2048,
    counts: Annotated[bool, typer.Option(help="Learners see feature counts, or bits.")] = True,
    descriptors: Annotated[str, typer.Option(help="'rdkit-2d' or 'none'.")] = "rdkit-2d",
    stereo: Annotated[str, typer.Option(help="Stereochemistry: 'remove' or 'keep'.")] = "remove",
    isotopes: Annotated[str, typer.Option(help="Isotope labels: 'remove' or 'keep'.")] = "remove",
    mixtures: Annotated[
        str,
        typer.Option(help="Several components that may be the compound: 'reject', or 'largest'."),
    ] = "reject",
    max_heavy_atoms: Annotated[int, typer.Option(help="Largest compound accepted.")] = 150,
    round: Annotated[int, typer.Option(min=1, help="Number of the round.")] = 1,
    as_json: Json = False,
) -> None:
    """Write a commented federation file to start from.

    \b
    Example:
        fluid init-federation --name demo --task bbb:binary:BBB-,BBB+ \\
            --task "logbb:regression:log10(brain/blood):-4:4" -o federation.toml
        fluid init-federation --name panel --tasks tasks.csv -o federation.toml
    """
    from fluid.base.errors import FederationError
    from fluid.chem.features import FeatureSpec
    from fluid.chem.standardize import StandardizerSpec
    from fluid.exchange.task_file import read_task_file
    from fluid.exchange.template import init_federation as write
    from fluid.exchange.template import parse_task_option

    try:
        features = FeatureSpec(fingerprint, radius, bits, counts, descriptors)
        standardizer = StandardizerSpec(stereo, isotopes, mixtures, max_heavy_atoms)
    except ValueError as error:
        raise FederationError(str(error)) from error
    with tidy(output):
        agreed = [*(read_task_file(tasks) if tasks is not None else [])]
        agreed += [parse_task_option(text) for text in task or ()]
        if not agreed:
            raise FederationError("no tasks; give --task NAME:KIND or --tasks FILE")
        protocol = write(output, name, agreed, features, standardizer, round)
    value = {"federation": name, "path": str(output), "tasks": len(agreed), "protocol": protocol}
    shown = {"written": output, "tasks": f"{len(agreed):,}", "protocol": protocol}
    emit(as_json, value, lambda: pairs(shown))


@command
def keygen(
    partner: Annotated[str, typer.Argument(help="Name of the partner, or 'coordinator'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the two files.")],
    federation: Annotated[
        Path | None,
        typer.Option("--federation", "-f", help="Register the public key in this file at once."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key pair for a partner or the coordinator.

    The keys are Ed25519. NAME.key stays with its owner (owner-only), NAME.pub goes into the
    federation file. If the coordinator's is there, whatever comes from the coordinator must be
    signed with --key.

    \b
    Examples:
        fluid keygen aurora -o keys/
        fluid keygen coordinator -o keys/ --federation federation.toml
    """
    from fluid.exchange.federation import COORDINATOR, check_partner_name
    from fluid.exchange.signing import generate_keys, read_public_key
    from fluid.exchange.template import register_partner

    if partner != COORDINATOR:
        check_partner_name(partner)
    with tidy(output / partner):
        private, public = generate_keys(partner, output)
        if federation is not None:
            try:
                register_partner(federation, partner, public)
            except BaseException:
                # Nobody has these keys yet, and the next try needs their names.
                private.unlink()
                public.unlink()
                raise
    key = read_public_key(public)
    value = {
        "partner": partner,
        "private": str(private),
        "public": str(public),
        "public_key": key,
        "registered_in": str(federation) if federation else None,
    }

    def text() -> str:
        lines = [pairs({"private, keep it": private, "public, send it": public})]
        if federation is None:
            lines += [
                "",
                f"The coordinator registers it with `fluid register {public} -f federation.toml`,",
                "or by adding to the federation file:",
                "",
                f"[{partner if partner == COORDINATOR else f'partners.{partner}'}]",
                f'public_key = "{key}"',
            ]
        else:
            lines.append(f"registered in {federation}")
        return "\n".join(lines)

    emit(as_json, value, text)


@command
def register(
    public_key: Annotated[Path, typer.Argument(help="A .pub file.")],
    federation: FederationFile,
    partner: Annotated[
        str | None, typer.Option(help="Name of the partner; by default that of the file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a public key to the federation file. The protocol digest stays as it is.

    A file coordinator.pub is the coordinator's key, any other is a partner's.

    \b
    Example:
        fluid register keys/aurora.pub --federation federation.toml
    """
    from fluid.exchange.federation import signer_title
    from fluid.exchange.template import register_partner

    name = partner if partner is not None else public_key.stem
    register_partner(federation, name, public_key)
    value = {"partner": name, "federation": str(federation)}
    emit(as_json, value, lambda: f"{signer_title(name)} is registered in {federation}")


@command
def prepare_public(
    structures: Annotated[list[Path], typer.Argument(help="Tables of structures.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    select: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Keep N compounds, chosen by diversity and coverage; by default all are kept.",
        ),
    ] = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help="Select by the clusters of this file; by default by those of the pool."),
    ] = None,
    coverage: Annotated[
        list[Path] | None,
        typer.Option(help="A partner's signed coverage report; may be given repeatedly."),
    ] = None,
    coverage_weight: Annotated[
        float | None,
        typer.Option(
            help="Part of the selection that follows the reports, 0 to 1 (default 0.5); the rest "
            "is even over clusters.",
            show_default=False,
        ),
    ] = None,
    donated: Annotated[
        list[Path] | None,
        typer.Option(
            help="Table of structures that partners donate, because they are public already: "
            "always kept, and counted within N; may be given repeatedly."
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            help="Table of structures to keep out, by connectivity, such as those of tests; may "
            "be given repeatedly."
        ),
    ] = None,
    exclude_similarity: Annotated[
        float | None,
        typer.Option(
            help="Keep out too what has this Tanimoto similarity or more to a compound of "
            "--exclude, above 0 to 1.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    key: CoordinatorKey = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Standardise and fingerprint the public compounds.

    Structures that cannot be used are listed with the reason in OUTPUT.rejects.csv. An interrupted
    run continues where it stopped, unless it selects.

    \b
    Examples:
        fluid prepare-public public.csv --federation federation.toml -o public.parquet
        fluid prepare-public public.csv --federation federation.toml -o public.parquet \\
            --scheduler tcp://cluster:8786
        fluid prepare-public public.csv --federation federation.toml -o public.parquet \\
            --exclude external.csv --exclude-similarity 0.9
        fluid prepare-public pool.csv --federation federation.toml --select 100000 \\
            --clusters clusters.parquet --coverage aurora.json --coverage draco.json \\
            -o public.parquet
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.errors import FluidError
    from fluid.base.run import Run
    from fluid.exchange.federation import Federation
    from fluid.exchange.public_set import SCHEMA as PUBLIC
    from fluid.public.candidates import Selection
    from fluid.public.exclude import Exclusion
    from fluid.public.prepare import prepare_public as prepare

    contract = Federation.load(federation)
    selection = None
    if select is not None:
        weight = 0.5 if coverage_weight is None else coverage_weight
        selection = Selection(select, clusters, tuple(coverage or ()), weight, tuple(donated or ()))
    else:
        given = {
            "--clusters": clusters,
            "--coverage": coverage[0] if coverage else None,
            "--coverage-weight": coverage_weight,
            "--donated": donated[0] if donated else None,
        }
        idle = [f"{name} {value}" for name, value in given.items() if value is not None]
        if idle:
            raise FluidError(f"{idle[0]}: only with --select N; without it every compound is kept")
    exclusion = Exclusion(tuple(exclude), exclude_similarity) if exclude else None
    if exclusion is None and exclude_similarity is not None:
        raise FluidError(f"--exclude-similarity {exclude_similarity}: only with --exclude TABLE")
    tables = [*(coverage or []), *(donated or []), *(exclude or [])]
    extra = [*([clusters] if clusters else []), *tables]
    inputs = [*structures, federation, *extra, *([key] if key else [])]
    rejects = rejects_beside(output)
    with (
        output_file(output, inputs, "public set", is_sealed(PUBLIC)),
        output_file(rejects, inputs, "table of rejects", starts_with(REJECTS_HEADER)),
        open_cluster(scheduler) as workers,
    ):
        summary = prepare(
            structures,
            contract,
            output,
            selection=selection,
            exclusion=exclusion,
            smiles_column=smiles_column,
            id_column=id_column,
            key=key,
            run=Run(seed, jobs, workers, Progress("rows")),
        )
    value = {"path": str(output), **summary.to_dict()}
    emit(as_json, value, lambda: _show(summary))


def _show(summary: PublicSummary) -> str:
    shown = summary.to_dict()
    selection, exclusion = shown.pop("selection", None), shown.pop("exclusion", None)
    if exclusion is not None:
        limit = exclusion["similarity"]
        shown["kept out, identical"] = exclusion["n_identical"]
        if limit is not None:
            shown[f"kept out, similarity {limit:g} or more"] = exclusion["n_similar"]
    if selection is not None:
        shown |= {
            "selected from": f"{selection['pool']:,} compounds",
            "clusters": f"{selection['n_clusters']:,}",
            "coverage of": ", ".join(selection["coverage"]) or "no partner",
            "donated": f"{selection['n_donated']:,}",
        }
    return pairs(shown)
