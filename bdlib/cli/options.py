"""What the commands' arguments and options have in common."""

from collections.abc import Callable
from typing import Any

import click

PROFILES = click.Choice(["smoke", "quick", "cifar", "paper"])
SCALES = click.Choice([profile for profile in PROFILES.choices if profile != "smoke"])  # which claims are judged at


def read_parameters(_: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The pairs NAME=VALUE as a dictionary; values are read as YAML, and `1e-3` is a number."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair}: must be NAME=VALUE", param=option)
        if name in parameters:
            raise click.BadParameter(f"{name}: is given twice", param=option)
        parameters[name] = _value(pair, text, option)
    return parameters


def _value(pair: str, text: str, option: click.Parameter) -> Any:
    import yaml

    try:
        value = yaml.safe_load(text)
        repr(value)  # a number of more digits than Python writes is an error here, not where it is named
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise click.BadParameter(f"{pair[:200]}: the value is no YAML: {why}", param=option) from None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def known_paper(_: click.Context, option: click.Parameter, keys: Any) -> Any:
    """The keys of papers as they were given. Raises BadParameter for one that has no notebook.

    Where several may be given, one may be `board`: the runs that the board plans.
    """
    from bdlib.folders import ROOT

    papers = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    papers += ["board"] if option.multiple else []
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
    words = "Scale: smoke (seconds, says nothing), quick and cifar (two CPU cores), paper (a GPU)."
    return click.option("--profile", type=PROFILES, default="quick", show_default=True, help=words)(function)
