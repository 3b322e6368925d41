"""What the commands' arguments and options have in common."""

from collections.abc import Callable
from typing import Any

import click

PROFILES = click.Choice(["smoke", "quick", "paper"])


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
    from bdlib.folders import ROOT

    papers = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
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
