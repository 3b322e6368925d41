"""Parameters are checked against the ranges on the signature that takes them, before any compute.

A range is written once, as `alpha: Annotated[float, Field(ge=0, le=1)] = 0.2`, on a function's keyword or a dataclass's
field. Python calls (by `@checked`), notebooks and the command line read it from there. A wrong value is one line that
names the parameter, the value and what is allowed.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeAlias, TypeVar, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

P = ParamSpec("P")
R = TypeVar("R")
Range: TypeAlias = (
    Any  # a TypeAdapter, by which pydantic validates; the shape checks of the tests do not know that type
)
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


class ParameterError(ValueError):
    """A parameter does not exist, or its value is not allowed. The message is one line that names both."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line alone."""
        return [f"ParameterError: {self}"]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which now raises ParameterError for a keyword-only argument outside the range on its signature."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_values(kwargs, keywords(function))
        return function(*args, **kwargs)

    return call


@functools.cache
def keywords(function: Callable[..., Any]) -> Mapping[str, Range]:
    """The range of each keyword-only argument of `function`, by name; callbacks and losses are left out."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    ranges = {p.name: hints.get(p.name, Any) for p in parameters if p.kind == p.KEYWORD_ONLY}
    return {name: range_of(hint) for name, hint in ranges.items() if get_origin(hint) is not Callable}


@functools.cache
def field_ranges(kind: type) -> Mapping[str, Range]:
    """The range of each field of the dataclass `kind`, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: range_of(hints[field.name]) for field in dataclasses.fields(kind)}


def check_values(values: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise ParameterError for the first of `values` that is out of its range; those without a range pass."""
    for name, value in values.items():
        if name in ranges:
            try:
                ranges[name].validate_python(value)
            except ValidationError:
                raise ParameterError(f"{name}={value!r}: must be {in_words(ranges[name])}") from None


def range_of(annotation: Any) -> Range:
    """The range that an annotation stands for. It is strict: True is no number, and neither is "1"."""
    return TypeAdapter(annotation, config=STRICT)


class CheckedFields:
    """Base of dataclasses whose fields carry ranges. Making one with a value out of its range raises ParameterError."""

    def __post_init__(self) -> None:
        check_values(vars(self), field_ranges(type(self)))  # type: ignore[arg-type]


class OneOf:
    """A range for text, `Annotated[str, OneOf(REGISTRY)]`: the registry's keys, also those that are added later."""

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"enum": list(self.registry)}

    def _check(self, key: str) -> str:
        if key not in self.registry:
            raise ValueError(key)
        return key


def in_words(allowed: Range) -> str:
    """What is allowed, as the end of a sentence: "a number from 0 to 1", "one of paper, released"."""
    return _words(allowed.json_schema())


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_words(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return _words_for_list(schema)
    simple = {"null": "None", "boolean": "True or False", "string": "text"}
    return simple.get(schema.get("type", ""), "") or _words_for_number(schema)


def _words_for_list(schema: Mapping[str, Any]) -> str:
    items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
    least, most = schema.get("minItems"), schema.get("maxItems")
    count = f" of {least}" if least is not None and least == most else ""
    return f"a list{count}, each item {_words(items)}"


def _words_for_number(schema: Mapping[str, Any]) -> str:
    noun = "a whole number" if schema.get("type") == "integer" else "a number"
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    ends = [f" above {above:g}" if above is not None else "", f" from {low:g}" if low is not None else ""]
    joint = ", at most" if above is not None else " to" if low is not None else " at most"
    return noun + "".join(ends) + (f"{joint} {high:.10g}" if high is not None else "")
