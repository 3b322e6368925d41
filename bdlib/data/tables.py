"""Tables for fair regression: features, a real target and binary sensitive attributes.

`diabetes` comes with scikit-learn (442 rows; Efron et al. 2004). The three benchmark tables are those that the authors'
script fetches: `communities` (UCI Communities and Crime), `lawschool` (LSAC) and `adult` (UCI Adult), from
`$BDLIB_DATA/fair/<name>.csv` or else by download. No file is used unless its SHA-256 is the known one.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from bdlib.checks import ParameterError
from bdlib.data._download import Archive, downloads_folder, fetch
from bdlib.data._files import DataError, read_verified

NUMBERS_VERSION = 1  # raise it when a change here changes a value or the order of rows
PLACE = "https://raw.githubusercontent.com/steven7woo/fair_regression_reduction/master/data"  # MIT license
SHA256 = {
    "communities.csv": "b97393d2700dd0a320f609762b34ea7a8eccccada9f5bdfdeafbdb5bf8e32110",
    "lawschool.csv": "417f7e65505e87cfc2b952b8b06287f02bcc1702508315e8a8d843b046e59606",
    "adult.csv": "158085b7a0dc4d2e1da6532d780a28eba1a755cc7b065c5f45d917e12c5587b5",
}


@dataclass(frozen=True)
class Table:
    """A regression problem: `features` (n, d), `target` (n,) and 0/1 `sensitive` (n, attributes), by column name."""

    features: pd.DataFrame
    target: pd.Series
    sensitive: pd.DataFrame


def load_table(name: str) -> Table:
    """The named table, whole, rows in the order of its file.

    Raises ParameterError for an unknown name, DataError when its file is missing, altered or cannot be downloaded.

    Example: ``load_table("diabetes").sensitive["sex"]``
    """
    if name not in TABLES:
        raise ParameterError(f"table={name!r}: must be one of {', '.join(TABLES)}")
    return TABLES[name]()


def _csv(name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(_content(f"{name}.csv")), skipinitialspace=True, na_values="?")


def _content(file: str) -> bytes:
    """The bytes of a file of $BDLIB_DATA/fair, else of the download; verified either way."""
    place = os.environ.get("BDLIB_DATA")
    if place and not Path(place).is_dir():
        raise DataError(f"BDLIB_DATA={place}: is not a folder; unset it, or set it to one that holds fair/")
    if place and (file_there := Path(place, "fair", file)).is_file():
        return read_verified(file_there, SHA256)
    try:
        return fetch(Archive(f"{PLACE}/{file}", md5="", sha256=SHA256[file]), downloads_folder() / "fair")
    except DataError as error:
        where = "go online, or set BDLIB_DATA to a folder that holds"
        raise DataError(f"table={file[:-4]!r} could not be downloaded: {error}; {where} fair/{file}") from None


@cache
def diabetes() -> Table:
    """Progress of diabetes after a year. Sensitive: sex; then age, body mass and blood pressure above their means."""
    bunch = load_diabetes(as_frame=True)
    return Table(bunch.data, bunch.target, (bunch.data[["sex", "age", "bmi", "bp"]] > 0).astype(int))


@cache
def communities() -> Table:
    """Violent crimes per person, in [0, 1], missing values 0 as in the authors' script.

    Sensitive: whether the largest racial share is the white one, which replaces the four shares; then the median
    income, the household size and the median family income above 0.5 of the range.
    """
    table = _csv("communities").fillna(0.0)
    shares = ["racepctblack", "racePctWhite", "racePctAsian", "racePctHisp"]
    white = (table[shares].idxmax(axis=1) == "racePctWhite").astype(int)
    features = pd.concat([table.drop(columns=[*shares, "ViolentCrimesPerPop"]), white.rename("white")], axis=1)
    others = (table[["medIncome", "householdsize", "medFamInc"]] > 0.5).astype(int)
    return Table(features, table["ViolentCrimesPerPop"], pd.concat([white.rename("white"), others], axis=1))


@cache
def lawschool() -> Table:
    """Undergraduate grade over 4. Sensitive: white or not, then male or not, then full-time or not; 20,800 rows."""
    table = _csv("lawschool").dropna().reset_index(drop=True)
    coded = {"race": table["race"] == 7, "gender": table["gender"] == "male", "bar1": table["bar1"] == "P",
             "fulltime": table["fulltime"] == 1}  # fmt: skip
    features = table.drop(columns="ugpa").assign(**{name: flag.astype(int) for name, flag in coded.items()})
    return Table(features.astype(float), table["ugpa"] / 4, features[["race", "gender", "fulltime"]])


@cache
def adult() -> Table:
    """Income above 50,000 dollars as 0 or 1. Sensitive: sex, then white or not; 30,162 rows without missing values.

    Text is one-hot coded and numbers become log(1 + x), as in the authors' script.
    """
    table = _csv("adult").dropna().reset_index(drop=True)
    target, inputs = (table["income"] == ">50K").astype(float), table.drop(columns="income")
    numbers = inputs.select_dtypes("number")
    coded = pd.get_dummies(inputs.drop(columns=numbers.columns), dtype=float)
    flags = {"male": inputs["sex"] == "Male", "white": inputs["race"] == "White"}
    return Table(pd.concat([np.log1p(numbers), coded], axis=1), target, pd.DataFrame(flags).astype(int))


TABLES: dict[str, Callable[[], Table]] = {
    "diabetes": diabetes, "communities": communities, "lawschool": lawschool, "adult": adult,
}  # fmt: skip
