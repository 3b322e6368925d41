"""The commands for what somebody else brings: `evaluate` puts a file through the book, `new` writes one."""

import sys
import warnings
from pathlib import Path
from typing import Any

import click

from bdlib.cli.options import parameter_option


@click.command()
@click.argument("source", metavar="FILE.py:FUNCTION")
@click.option("--on", default="fashion", show_default=True, metavar="DATA", help="fashion, cifar10, a folder of images "
              "(class folders, or train/ and test/ of them) or of Parquet files, or a Parquet file.")  # fmt: skip
@click.option("--attack", "attacks", multiple=True, help="An attack; may be repeated. Default: badnets and blended.")
@click.option("--seed", "seeds", type=click.IntRange(0, 9999), multiple=True, help="May be repeated. Default: 0, 1, 2.")
@click.option("--against", metavar="KEYS", help="Defenses of the book that run beside it, as nad,ft_sam.")
@click.option("--time-limit", type=click.FloatRange(0, 1e6, min_open=True), default=600, show_default=True,
              help="Seconds until the function must have returned.")  # fmt: skip
@click.option("--memory", type=click.FloatRange(0.5, 10_000), default=6, show_default=True, help="Gigabytes of memory.")
@click.option("--size", type=click.IntRange(8, 1024), default=32, show_default=True, help="Pixels of own images.")
@click.option("--gray", is_flag=True, help="Own images have one channel.")
@click.option("--smoke", is_flag=True, help="A few images and epochs: shows in seconds that it runs, says nothing.")
@parameter_option
def evaluate(
    source: str, on: str, attacks: tuple[str, ...], seeds: tuple[int, ...], against: str | None, time_limit: float,
    memory: float, size: int, gray: bool, smoke: bool, parameters: dict[str, Any],
) -> None:  # fmt: skip
    """Run a defense, an attack or a network of your own, and print its row among the book's.

    FUNCTION is told by its arguments. A defense is purify(model, clean) or purify(make_model, poisoned[, clean]), an
    attack trigger(images) or an Attack object, a network make(channels, num_classes). Keywords have defaults, which -p
    changes; `seed` is passed where there is one.

    The code runs in a process of its own with a time limit and a memory limit. It is handed what a defender has and
    nothing else. That is a guard against mistakes, not a sandbox: run code that you do not trust in a container.

    \b
    Examples:
        bdlib evaluate my_defense.py:purify --on cifar10
        bdlib evaluate my_attack.py:trigger --on fashion --against nad,ft_sam
    """
    from bdlib.evaluation.metrics import PremiseWarning
    from bdlib.submissions.command import evaluate_file
    from bdlib.submissions.limits import Limits

    warnings.simplefilter("ignore", PremiseWarning)
    keys = tuple(key.strip() for key in against.split(",")) if against else ()
    failed = evaluate_file(
        source, on, attacks, seeds or (0, 1, 2), keys, Limits(time_limit, memory), parameters, size=size,
        channels=1 if gray else 3, smoke=smoke, say=click.echo,
        show=lambda line: click.echo(click.style(f"  | {line}", dim=True)),
    )  # fmt: skip
    sys.exit(failed)


@click.command()
@click.argument("kind", type=click.Choice(["defense", "attack", "network", "dataset"]))
@click.argument("name")
@click.option("--title", help="What the page is called. Default: the name.")
@click.option("--alone", is_flag=True, help="Write one file and its test into the current folder, also in a checkout.")
def new(kind: str, name: str, title: str | None, alone: bool) -> None:
    """Write the files of a new defense, attack, network or data set, which run at once.

    In a checkout: the file, its test, a notebook and its parameters, and the lines that make it known. Anywhere else:
    one file and a test, for `bdlib evaluate`. Nothing that is there is overwritten.

    \b
    Examples:
        bdlib new defense abc --title "ABC: a better cure"
        bdlib new attack stripes --alone
    """
    from bdlib.submissions.new import write_new

    written = write_new(kind, name, title or name, Path.cwd(), alone=alone)
    for line in written:
        click.echo(line)
