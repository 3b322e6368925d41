"""Keyword arguments checked against the ranges on a function's own signature, before any compute.

A range is written once, as `alpha: Annotated[float, Field(ge=0, le=1)] = 0.2`. Python calls (by `@checked`), notebooks
and the command line all end here, and a wrong value is one line: the name, the value, and what is allowed.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

P = ParamSpec("P")
R = TypeVar("R")
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


class ParameterError(ValueError):
    """A parameter that does not exist, or a value that is not allowed; its message is one line that names both."""

    def _render_traceback_(self) -> list[str]:
        """One line is all that a notebook shows of it."""
        return [f"ParameterError: {self}"]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which now raises ParameterError for a keyword-only argument outside the range on its signature."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_keywords(function, kwargs)
        return function(*args, **kwargs)

    return call


def check_keywords(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise ParameterError unless every one of `given` is a keyword of `function` and within its range."""
    known = keywords(function)
    for name, value in given.items():
        if name in known:
            check_value(name, value, known[name])


def check_value(name: str, value: Any, allowed: "TypeAdapter[Any]") -> None:
    """Raise ParameterError when `allowed` does not admit `value`."""
    try:
        allowed.validate_python(value)
    except ValidationError:
        raise ParameterError(f"{name}={value!r}: must be {in_words(allowed)}") from None


def keywords(function: Callable[..., Any]) -> "dict[str, TypeAdapter[Any]]":
    """What each keyword-only argument of `function` may be, by name; callbacks and losses are left out."""
    return dict(_keywords(inspect.unwrap(function)))


@functools.cache
def _keywords(function: Callable[..., Any]) -> "dict[str, TypeAdapter[Any]]":
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY and not callable(p.default)]
    return {name: adapter(hints[name]) for name in names}


def adapter(annotation: Any) -> "TypeAdapter[Any]":
    """What validates values of one annotation: strictly, so that True is no number and "1" is none either."""
    return TypeAdapter(annotation, config=STRICT)


class CheckedFields:
    """Base of dataclasses whose fields carry ranges: it raises ParameterError when a value is outside."""

    def __post_init__(self) -> None:
        check_fields(self)


def check_fields(instance: Any) -> None:
    """Raise ParameterError unless every field of a dataclass instance is within the range that it is annotated with."""
    for name, allowed in field_ranges(type(instance)).items():  # type: ignore[arg-type]
        check_value(name, getattr(instance, name), allowed)


@functools.cache
def field_ranges(kind: type) -> "dict[str, TypeAdapter[Any]]":
    """What each field of a dataclass may be, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: adapter(hints[field.name]) for field in dataclasses.fields(kind)}


class OneOf:
    """A range for text, `Annotated[str, OneOf(REGISTRY)]`: the registry's keys, also those that are added later."""

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"enum": list(self.registry)}

    def _checked(self, key: str) -> str:
        if key not in self.registry:
            raise ValueError(key)
        return key


def in_words(allowed: "TypeAdapter[Any]") -> str:
    """What is allowed, as the end of a sentence: "a number from 0 to 1", "one of paper, released"."""
    return _words(allowed.json_schema())


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_words(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        least, most = schema.get("minItems"), schema.get("maxItems")
        count = f"{least} of them, each " if least is not None and least == most else ""
        return f"a list, each of it {count}{_words(items)}"
    simple = {"null": "None", "boolean": "True or False", "string": "text"}
    if kind in simple:
        return simple[kind]
    noun = "a whole number" if kind == "integer" else "a number"
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    ends = [f" above {above:g}" if above is not None else "", f" from {low:g}" if low is not None else ""]
    joint = ", at most" if above is not None else " to" if low is not None else " at most"
    return noun + "".join(ends) + (f"{joint} {high:.10g}" if high is not None else "")
