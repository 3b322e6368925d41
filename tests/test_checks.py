"""Ranges on a signature: what passes, and what the one line says of what does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field

from bdlib import ranges
from bdlib.checks import ParameterError, checked, field_ranges, in_words, keywords, range_of
from bdlib.types import OnEvent, ignore


@checked
def method(
    model, *, share: ranges.Fraction = 0.5, rate: ranges.LearningRate = 0.1,
    epochs: ranges.Count = 3, augmentation: ranges.Augmentation = 4,
    variant: Literal["paper", "released"] = "paper", on: bool = True, layers: Sequence[str] = ("layer1",),
    weights: Annotated[Sequence[ranges.Weight], Field(min_length=2, max_length=2)] = (1.0, 2.0),
    on_event: OnEvent = ignore,
):  # fmt: skip
    return share, epochs


WRONG = {
    "share": (1.5, "share=1.5: must be a number from 0 to 1"),
    "rate": (0, "rate=0: must be a number above 0, at most 10"),
    "epochs": (2.0, "epochs=2.0: must be a whole number from 1 to 1000"),
    "augmentation": (-1, "augmentation=-1: must be a whole number from 0 to 64, or None"),
    "variant": ("fixed", "variant='fixed': must be one of paper, released"),
    "on": (1, "on=1: must be True or False"),
    "layers": ([3], "layers=[3]: must be a list, each item text"),
    "weights": ([1.0], "weights=[1.0]: must be a list of 2, each item a number from 0 to 1000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_out_of_range_is_one_line_that_names_it_and_what_is_allowed(name):
    value, message = WRONG[name]
    with pytest.raises(ParameterError) as caught:
        method(None, **{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [True, "1", float("nan"), None])
def test_what_only_looks_like_a_number_is_none(value):
    with pytest.raises(ParameterError, match="share="):
        method(None, share=value)


def test_what_fits_is_handed_on_as_it_is():
    assert method(None, share=1, epochs=2, augmentation=None, layers=["a"], weights=[1, 2]) == (1, 2)
    with pytest.raises(TypeError, match="unheard"):
        method(None, unheard=1)


def test_callbacks_are_no_parameters():
    assert "on_event" not in keywords(method) and "model" not in keywords(method)
    assert list(keywords(method))[:3] == ["share", "rate", "epochs"]


def test_fields_have_ranges_as_keywords_do():
    @dataclass
    class Config:
        share: ranges.Fraction = 0.5

    assert in_words(field_ranges(Config)["share"]) == "a number from 0 to 1"
    for allowed, words in ((Field(ge=0, lt=1), "from 0, below 1"), (Field(lt=1), "below 1"), (Field(gt=0), "above 0")):
        assert in_words(range_of(Annotated[float, allowed])) == f"a number {words}"


@pytest.mark.parametrize("value", [np.float32(0.5), np.bool_(True), Decimal("0.5"), Fraction(1, 2)])
def test_numbers_of_another_kind_that_pass_as_floats_are_refused(value):
    with pytest.raises(ParameterError, match="^share=.*: must be a number"):
        method(None, share=value)


@pytest.mark.parametrize("value", [True, 1.0, 3.0, np.int64(1)])
def test_what_equals_a_listed_number_is_none_of_them(value):
    @checked
    def load(*, channels: Literal[1, 3] = 3):
        return channels

    assert load(channels=1) == 1
    with pytest.raises(ParameterError, match=r"\Achannels=.*: must be one of 1, 3\Z"):
        load(channels=value)


def test_numbers_of_another_kind_are_refused_inside_a_list():
    with pytest.raises(ParameterError, match=r"\Aweights=.*: must be a number or text of Python's own"):
        method(None, weights=[1.0, Decimal("0.5")])


def test_an_error_is_one_line_whatever_a_file_is_called():
    assert str(ParameterError("a\nb\u2028c\udcff é")) == r"a\nb\u2028c\udcff é"
