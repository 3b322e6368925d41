"""The console command `bdlib`: one run, a notebook, all missing records, the verdicts.

Imports of PyTorch are inside the commands, so that `bdlib --help` answers at once.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

ONE_LINE = (
    "ParameterError",
    "ClaimError",
    "DataError",
)  # errors that tell all in one line, by the names of their types
PROFILES = click.Choice(["smoke", "quick", "paper"])


class Commands(click.Group):
    """Commands whose expected errors are one line on stderr and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if type(error).__name__ not in ONE_LINE:
                raise
            click.echo(f"{type(error).__name__}: {error}", err=True)
            ctx.exit(2)


def read_parameters(_: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The pairs NAME=VALUE as a dictionary; values are read as YAML, and `1e-3` is a number."""
    import yaml

    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair}: must be NAME=VALUE", param=option)
        value = yaml.safe_load(text)
        try:
            parameters[name] = float(value) if isinstance(value, str) else value
        except ValueError:
            parameters[name] = value
    return parameters


def known_paper(_: click.Context, option: click.Parameter, keys: Any) -> Any:
    """The keys of papers as they were given. Raises BadParameter for one that has no notebook."""
    notebooks = Path(__file__).parents[1] / "notebooks"
    papers = sorted(path.stem for path in notebooks.glob("*.ipynb"))
    for key in [keys] if isinstance(keys, str) else keys:
        if key not in papers:
            raise click.BadParameter(f"{key}: must be one of {', '.join(papers)}", param=option)
    return keys


def paper_argument(function: Callable[..., None]) -> Callable[..., None]:
    return click.argument("paper", callback=known_paper)(function)


def parameter_option(function: Callable[..., None]) -> Callable[..., None]:
    words = "Change one parameter; may be given several times. `bdlib show` lists them."
    option = click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help=words,
                          callback=read_parameters)  # fmt: skip
    return option(function)


def profile_option(function: Callable[..., None]) -> Callable[..., None]:
    words = "Scale: smoke (seconds, says nothing), quick (two CPU cores), paper (a GPU)."
    return click.option("--profile", type=PROFILES, default="quick", show_default=True, help=words)(function)


def report_failures(lines: Iterable[str | None]) -> None:
    """Print each line that is one, and end with status 1 if there was any."""
    failed = False
    for line in lines:
        if line:
            failed = True
            click.echo(line, err=True)
    sys.exit(failed)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Backdoor attacks and defenses, run from the command line.

    `bdlib list` names the papers and `bdlib show nad` the parameters of one. Everything trained is kept in
    build/cache, so that the second run on the same victim is faster. `make help` lists the commands for the whole
    book.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop a run cleanly, also where a shell has turned SIGINT off
        signal.signal(number, signal.default_int_handler)


@main.command()
@paper_argument
@parameter_option
@profile_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File for the record.")
def run(paper: str, parameters: dict[str, Any], profile: str, out: Path | None) -> None:
    """Attack a network, defend it, and score it: one run of PAPER without its notebook.

    Prints the scores before and after the defense and writes a record (JSON) with all parameters. At the quick
    profile it takes about two minutes on two cores, half of it to train the victim, which is kept for later runs.

    \b
    Examples:
        bdlib run nad
        bdlib run nad -p attack=blended -p clean_fraction=0.01 -p seed=3
        bdlib run rnp --profile paper --out rnp.json
    """
    from bdlib.evaluation.metrics import PremiseWarning
    from bdlib.experiments import notebooks, records
    from bdlib.experiments import run as experiments
    from bdlib.report import tables
    from bdlib.runtime import ROOT

    point = notebooks.parameters(paper, profile) | parameters
    notebooks.overridden(notebooks.NOTEBOOKS / f"{paper}.ipynb", point)
    warnings.simplefilter("ignore", PremiseWarning)  # printed below
    record = experiments.run(paper, point)
    folder = ROOT / "build" / "runs" / profile / paper
    path = record.save(out or folder / records.path(paper, profile, record.parameters).name)
    click.echo(tables.scores({"before": record.before, "after": record.after}).to_string())
    for premise in record.premises:
        click.echo(f"Caution: {premise}")
    click.echo(f"Record: {path}")


@main.command()
@paper_argument
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@parameter_option
@click.option("-f", "--file", type=click.Path(path_type=Path, exists=True), help="YAML file of parameters.")
@profile_option
@click.option("--prepare-only", is_flag=True, help="Write the parameters into OUT and run nothing.")
def notebook(
    paper: str, out: Path, parameters: dict[str, Any], file: Path | None, profile: str, prepare_only: bool
) -> None:
    """Run the notebook of PAPER by papermill and write it, with its figures, to OUT.

    A parameter that is misspelt or out of range stops it before anything runs; plain papermill only warns. After a
    failure the notebook is left as OUT with the ending .failed.ipynb. At the quick profile it takes one to three
    minutes. -p goes before -f, and -f before --profile.

    \b
    Example:
        bdlib notebook nad out.ipynb -p attack=blended -p seed=3
    """
    from bdlib.experiments import notebooks

    changes = notebooks.read_yaml(notebooks.profile_file(paper, profile)) or {}
    changes |= (notebooks.read_yaml(file) or {}) if file else {}
    notebooks.execute(notebooks.NOTEBOOKS / f"{paper}.ipynb", out, changes | parameters, prepare_only=prepare_only)


@main.command()
@click.argument("paths", nargs=-1, metavar="[RECORD]...", type=click.Path(path_type=Path))
@click.option("--paper", "papers", multiple=True, callback=known_paper, help="Only this paper; may be repeated.")
@profile_option
@click.option("--list", "only_list", is_flag=True, help="Print the missing records and make none.")
def records(paths: tuple[Path, ...], papers: tuple[str, ...], profile: str, only_list: bool) -> None:
    """Make the records that are missing, in this process, one after the other.

    A record is the JSON file of one run; tables and figures over several seeds are read from records. The studies in
    notebooks/params/<profile>/<paper>.records.yaml plan which there should be. RECORD is a path that --list prints;
    without one, all missing records are made: up to four hours for everything at the quick profile, much longer at
    the paper profile on one GPU. Stop it whenever you like and call it again: what is finished stays.

    A run that fails is named and does not stop the others; the exit status is then 1. `make records` does the same
    by Snakemake, several processes side by side, and in slices.

    \b
    Examples:
        bdlib records --paper nad --list
        bdlib records --paper nad
    """
    from bdlib.experiments import manifest

    asked = {path.resolve() for path in paths}
    runs = manifest.planned_runs(profile, list(papers) or sorted({path.parent.name for path in asked}))
    if unknown := asked - {run.path.resolve() for run in runs}:
        raise click.UsageError(f"{unknown.pop().name}: no study plans this record at profile {profile}")
    runs = [run for run in runs if not asked or run.path.resolve() in asked]
    runs = [run for group in manifest.missing_groups(runs) for run in group]
    if only_list:
        for run in runs:
            click.echo(os.path.relpath(run.path))
        return
    report_failures(map(manifest.make, runs))


@main.command()
@profile_option
def manifest(profile: str) -> None:
    """Count the planned runs, and write the tables results/<profile>/manifest.csv and metrics.csv.

    The manifest has a row for every planned run, with its record, its victim, and whether it is here or missing; the
    metrics have a row for every record. Takes seconds and trains nothing. Runs that failed are named with the last
    line of their error; the exit status is then 1.
    """
    from bdlib.experiments import manifest

    runs = manifest.planned_runs(profile)
    click.echo(manifest.write_tables(profile, runs))
    report_failures(map(manifest.failure_line, runs))


@main.command()
@click.option("--scale", "scales", type=click.Choice(["quick", "paper"]), multiple=True, help="Default: all.")
@click.option("--accept", is_flag=True, help="Accept today's verdicts: write results/<scale>/verdicts.csv.")
def verify(scales: tuple[str, ...], accept: bool) -> None:
    """Judge every claim of book/claims.yaml by the records, and print the verdicts.

    Takes seconds and trains nothing. The exit status is 1 if a verdict is worse than the accepted one; an honest "not
    reproduced" that was accepted is none.

    \b
    Examples:
        bdlib verify --scale quick
        bdlib verify --accept
    """
    from bdlib.claims import schema, verdicts

    for claim in schema.load():
        schema.check(claim)
    worse = [line for scale in scales or schema.PROFILES for line in verdicts.report(scale, accept_now=accept)]
    if worse:
        click.echo("\n".join([f"{len(worse)} verdicts are worse than the accepted ones:", *worse]), err=True)
    sys.exit(bool(worse))


@main.command()
@parameter_option
def victims(parameters: dict[str, Any]) -> None:
    """Train one backdoored network, or find it in the cache, and print where it is and its scores.

    At the quick profile's settings, the defaults, training takes less than a minute on two cores.

    \b
    Examples:
        bdlib victims -p attack=badnets
        bdlib victims -p dataset=cifar10 -p model=preact_resnet18 -p victim_epochs=60
    """
    from dataclasses import fields

    from bdlib.experiments.parameters import ParameterError, validated
    from bdlib.experiments.victims import VictimConfig, victim
    from bdlib.report import tables

    known = [field.name for field in fields(VictimConfig)]
    for name in parameters:
        if name not in known:
            raise ParameterError(f"{name}: no such parameter; a victim has {', '.join(known)}")
    config = VictimConfig(**validated({"dataset": VictimConfig.dataset, "attack": VictimConfig.attack} | parameters))
    model = victim(config, progress=True)
    click.echo(tables.scores({"victim": config.scores(model, config.data()[1])}).to_string())
    click.echo(f"Weights: {config.path}")


@main.command()
@paper_argument
def show(paper: str) -> None:
    """List the parameters of PAPER: their values at each profile, and what each may be.

    \b
    Example:
        bdlib show nad
    """
    from bdlib.experiments import notebooks
    from bdlib.experiments.parameters import RULES

    values = {profile: notebooks.parameters(paper, profile) for profile in PROFILES.choices}
    rows = [["parameter", *values, "allowed"]]
    rows += [[name, *(str(point[name]) for point in values.values()), RULES[name][0]] for name in values["quick"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@main.command("list")
def list_names() -> None:
    """List the papers, attacks, selections, defenses, data sets and networks there are, by their names in parameters."""
    from bdlib.attacks import ATTACKS, SELECTIONS
    from bdlib.data.datasets import DATASETS
    from bdlib.defenses import DEFENSES
    from bdlib.experiments import notebooks
    from bdlib.models import MODELS

    kinds = {"papers": notebooks.papers(), "attacks": ATTACKS, "selections": SELECTIONS, "defenses": DEFENSES,
             "data sets": DATASETS, "models": MODELS}  # fmt: skip
    for kind, names in kinds.items():
        click.echo(f"{kind + ':':12}{', '.join(names)}")


if __name__ == "__main__":
    main()
