"""The commands that list what there is: the parameters of a paper, the names that they may take."""

import click

from bdlib.cli.options import paper_argument


@click.command()
@paper_argument
def show(paper: str) -> None:
    """List the parameters of PAPER: their values at each profile, and what each may be.

    \b
    Example:
        bdlib show nad
    """
    from bdlib.checks import in_words
    from bdlib.experiments import notebooks
    from bdlib.experiments.parameters import ranges_of

    allowed = {name: in_words(part[name]) for part in ranges_of(paper) for name in part}
    values = {profile: notebooks.parameters(paper, profile) for profile in notebooks.profiles(paper)}
    rows = [["parameter", *values, "allowed"]]
    rows += [[name, *(str(point[name]) for point in values.values()), allowed[name]] for name in values["quick"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@click.command("list")
def list_names() -> None:
    """List the papers, attacks, selections, defenses, data sets and networks, as parameters name them."""
    from bdlib.attacks import ATTACKS, SELECTIONS
    from bdlib.data.datasets import DATASETS
    from bdlib.defenses import DEFENSES
    from bdlib.experiments import notebooks
    from bdlib.models import MODELS

    kinds = {"papers": notebooks.papers(), "attacks": ATTACKS, "selections": SELECTIONS, "defenses": DEFENSES,
             "data sets": DATASETS, "models": MODELS}  # fmt: skip
    for kind, names in kinds.items():
        click.echo(f"{kind + ':':12}{', '.join(names)}")
