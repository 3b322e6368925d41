"""Arguments are checked against the signature that takes them, before any compute.

A range is written once, as `alpha: Annotated[float, Field(ge=0, le=1)] = 0.2`, on a function's keyword or a dataclass's
field. Python calls (by `@checked`), notebooks and the command line read it from there. A wrong value is one line that
names the parameter, the value and what is allowed. Image sets are checked together with the networks beside them, and
what a method needs of both is a function of its own (`@needs`), which notebooks call as well.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Number
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import jaxtyped
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from bdlib.words import OneLineError, shown
from bdlib.words import Range as Range
from bdlib.words import in_words as in_words

P = ParamSpec("P")
R = TypeVar("R")
OTHER_NUMBERS = (np.bool_, np.float16, np.float32, np.longdouble, Decimal, Fraction)  # that pass as a float
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
PLAIN = (object, int, float, str, bool, list, dict, tuple, type(None))


class ParameterError(OneLineError, ValueError):
    """A parameter does not exist, or its value is not allowed. The message is one line that names both."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which now raises ParameterError for an argument that is not what the signature says.

    Keywords come first, then positional arguments, then how image sets fit each other, the networks, the triggers and
    the target label beside them (`ImageSet.check_use`).
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            arguments = _signature(function).bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # Python says better what is missing, or unknown
        names = [*keywords(function), *(name for name in arguments if name not in keywords(function))]
        check_values({name: arguments[name] for name in names if name in arguments}, _hints_of(function)[0])
        sets = {name: value for name, value in arguments.items() if hasattr(value, "check_use")}
        for value in [*sets.values()][:1]:
            value.check_use(sets, arguments, _hints_of(function)[1])
        return function(*args, **kwargs)

    return call


def needs(check: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator, written below `checked`: `check` runs before the function, with those arguments that it names.

    Example::

        @checked
        @needs(require_batch_norm)
        def anp(model, clean, *, ...)
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = _signature(function).bind(*args, **kwargs)
            arguments.apply_defaults()
            check_needs(call, arguments.arguments)
            return function(*args, **kwargs)

        call.needs = check  # type: ignore[attr-defined]
        return call

    return decorate


def check_needs(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise ParameterError unless `arguments` have what `function` needs beyond the ranges on its signature."""
    if check := getattr(function, "needs", None):
        check(**{name: arguments[name] for name in inspect.signature(check).parameters if name in arguments})


_signature = functools.cache(inspect.signature)


@functools.cache
def keywords(function: Callable[..., Any]) -> Mapping[str, Range]:
    """The range of each keyword-only argument of `function`, by name; callbacks and losses are left out."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    kept = {p.name: hints.get(p.name, Any) for p in parameters if p.kind == p.KEYWORD_ONLY}
    return {name: range_of(hint) for name, hint in kept.items() if get_origin(_bare(hint)) is not Callable}


@functools.cache
def _hints_of(function: Callable[..., Any]) -> tuple[Mapping[str, Range], Mapping[str, Any]]:
    """The range of each argument and its annotation, both by name."""
    hints, variable = get_type_hints(function, include_extras=True), ("VAR_POSITIONAL", "VAR_KEYWORD")
    parameters = inspect.signature(function).parameters.values()
    hints = {p.name: hints[p.name] for p in parameters if p.name in hints and p.kind.name not in variable}
    return {name: range_of(hint) for name, hint in hints.items()}, hints


def _bare(hint: Any) -> Any:
    """An annotation without what `Annotated` adds to it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


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
                with jaxtyped("context"):  # a tensor's n is not that of the caller
                    taken = ranges[name].validate_python(value)
                fits = type(taken) is not int or type(value) is int  # a Literal takes True and 1.0 for 1
            except ValidationError:
                fits = False
            if not fits:
                raise ParameterError(f"{name}={shown(value)}: must be {in_words(ranges[name])}")
            items = value if isinstance(value, (list, tuple)) else [value]
            if any(type(item) in OTHER_NUMBERS for item in items):
                require_plain({name: value})


def require_plain(values: Mapping[str, Any]) -> None:
    """Raise ParameterError for a number or text that is not Python's own, such as NumPy's: it has no place in JSON."""
    for name, value in values.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            kind = f"{type(item).__module__}.{type(item).__name__}"
            scalar = isinstance(item, (Number, str)) or kind.startswith("numpy.") or kind == "torch.Tensor"
            if scalar and type(item) not in (int, float, bool, str):
                raise ParameterError(f"{name}={item!r}: must be a number or text of Python's own, not {kind}")


def range_of(annotation: Any) -> Range:
    """The range that an annotation stands for. It is strict: True is no number, and neither is "1"."""
    if get_origin(annotation) in (dict, Mapping):
        annotation = get_origin(annotation)  # its items are not looked into
    if isinstance(_bare(annotation), type) and _bare(annotation) not in PLAIN:
        return TypeAdapter(Annotated[annotation, _Instance()])
    return TypeAdapter(annotation, config=STRICT)


class _Instance:
    """A range: the instances of a class, which are not looked into."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.is_instance_schema(source)


class CheckedFields:
    """Base of dataclasses whose fields carry ranges. Making one with a value out of its range raises ParameterError."""

    def __post_init__(self) -> None:
        check_values(vars(self), field_ranges(type(self)))  # type: ignore[arg-type]
        require_plain(vars(self))


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
