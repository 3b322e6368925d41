"""Which defense can be used on which network, found by the checks that every defense makes before it computes."""

import inspect

import pandas as pd

from bdlib.checks import ParameterError, keywords
from bdlib.defenses import DEFENSES
from bdlib.experiments.names import method_name
from bdlib.experiments.needs import check_defense

NETWORKS = {
    "small_resnet": "small ResNet",
    "preact_resnet18": "PreAct-ResNet-18",
    "small_vgg_bn": "small VGG with BatchNorm",
    "small_vit": "small vision transformer",
}
FITS = "yes"


def applicability(dataset: str = "fashion", clean_fraction: float = 0.05) -> pd.DataFrame:
    """A row for each defense, a column for each of `NETWORKS`: "yes", or what the defense needs that is not there.

    The checks are those of `bdlib.checks.needs`, with every keyword at its default.
    """
    rows = []
    for key in DEFENSES:
        cells = {words: fit(key, model, dataset, clean_fraction) for model, words in NETWORKS.items()}
        rows.append({"defence": method_name(key)} | cells)
    return pd.DataFrame(rows)


def fit(key: str, model: str, dataset: str, clean_fraction: float) -> str:
    """Whether the defense `key` can be used on the network: "yes", or its own line that says why not.

    Example: `fit("clp", "small_vit", "fashion", 0.05)` says that CLP needs BatchNorm2d layers.
    """
    function = DEFENSES[key]
    defaults = {name: inspect.signature(function).parameters[name].default for name in keywords(function)}
    run = {"model": model, "dataset": dataset}
    if "clean" in inspect.signature(function).parameters:
        run["clean_fraction"] = clean_fraction  # type: ignore[assignment]
    try:
        check_defense(function, defaults, run)
    except ParameterError as error:
        return str(error)
    return FITS
