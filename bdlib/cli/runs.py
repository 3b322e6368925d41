"""The commands that run one thing: a run without its notebook, a notebook, a victim."""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from bdlib.cli.options import paper_argument, parameter_option, profile_option


@click.command()
@paper_argument
@parameter_option
@profile_option
@click.option("--out", type=click.Path(path_type=Path), help="File for the record.")
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
    from bdlib.checks import ParameterError
    from bdlib.evaluation.metrics import PremiseWarning
    from bdlib.experiments import manifest, notebooks
    from bdlib.experiments import run as experiments
    from bdlib.experiments.parameters import overridden
    from bdlib.experiments.places import check_place
    from bdlib.folders import RUNS
    from bdlib.report import tables
    from bdlib.words import shown

    if "profile" in parameters:
        given = f"profile={shown(parameters['profile'])}"
        raise ParameterError(f"{given}: changes no number of a run; --profile takes a scale's settings")
    notebooks.require_profile(paper, profile)
    point = overridden(paper, notebooks.parameters(paper, profile) | parameters)
    if out or (out := Path(point["record"]) if point["record"] else None):
        check_place("out", out)
    warnings.simplefilter("ignore", PremiseWarning)  # printed below
    record = experiments.run(paper, point)
    path = record.save(out or RUNS / profile / paper / record.name)
    if record.before and record.after:
        click.echo(tables.scores({"before": record.before, "after": record.after}).to_string())
    else:
        click.echo(manifest.outcome(record))
    for premise in record.premises:
        click.echo(f"Caution: {premise}")
    click.echo(f"Record: {path}")
    if out is not None and path != out:
        sys.exit(1)


@click.command()
@paper_argument
@click.argument("out", type=click.Path(path_type=Path))
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
    if missing := [name for name in ("papermill", "ipykernel") if find_spec(name) is None]:
        raise click.ClickException(f"bdlib notebook needs {' and '.join(missing)}: pip install 'bdlib[run]'")
    from bdlib.experiments import notebooks

    notebooks.require_profile(paper, profile)
    changes = notebooks.read_settings(notebooks.profile_file(paper, profile))
    changes |= notebooks.read_settings(file) if file else {}
    notebooks.execute(notebooks.notebook(paper), out, changes | parameters, prepare_only=prepare_only)


@click.command()
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

    from bdlib.experiments.parameters import check_names
    from bdlib.experiments.victims import VictimConfig, evaluate_victim, load_data, trained_victim, victim_path
    from bdlib.report import tables

    check_names("a victim", [field.name for field in fields(VictimConfig)], parameters)
    config = VictimConfig(**parameters)
    model = trained_victim(config, progress=True)
    scores = evaluate_victim(config, model, load_data(config)[1])
    click.echo(tables.scores({"victim": scores}).to_string())
    click.echo(f"Weights: {victim_path(config)}")


@click.command()
@click.option("--train", is_flag=True, help="Train and publish those that are missing.")
def zoo(train: bool) -> None:
    """List the victims that zoo/victims.yaml plans, with the scores of those that are published.

    A published victim is a file of about 2 MB in zoo/, verified by its SHA-256 when it is used: a defense can be
    rerun without training any network. With --train the missing ones are trained, in their order; one takes about
    twelve minutes on two cores.

    \b
    Example:
        bdlib zoo
    """
    from bdlib import folders
    from bdlib.experiments import published, zoo
    from bdlib.folders import check_can_write

    if train:
        check_can_write(folders.ZOO, "zoo")
    for config in zoo.planned():
        path = published.publish(config, progress=True) if train else zoo.zoo_path(config)
        row = zoo.manifest().get(path.name)
        scores = f"ACC {row.clean_accuracy:.1%}, ASR {row.asr:.1%}" if row else "not published yet"
        click.echo(f"{config.dataset} {config.attack} seed {config.seed}, {config.model}: {scores}")
