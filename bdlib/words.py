"""What a range allows and what a value is, in words: the two halves of the one line that refuses the value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema
from torch import Tensor, nn

Range: TypeAlias = Any  # a TypeAdapter, by which pydantic validates; the tests' shape checks do not know that type
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # line breaks; bytes that are no UTF-8
LONGEST = 100  # characters of a value that are shown


class OneLineError(Exception):
    """Base of errors that tell all in one line, whatever names of files are in it."""

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line alone."""
        return [f"{type(self).__name__}: {self}"]


def one_line(message: object) -> str:
    """A text in which line breaks and what else cannot be printed are escaped, as file names may hold them."""
    return UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], str(message))


def has_words(text: str) -> bool:
    """Whether a text is more than blanks and can be written as UTF-8, which half of a surrogate pair cannot."""
    return bool(text.strip()) and not re.search("[\ud800-\udfff]", text)


def in_words(allowed: Range) -> str:
    """What is allowed, as the end of a sentence: "a number from 0 to 1", "one of paper, released"."""
    return _words(allowed.json_schema(schema_generator=_Schema))


def shown(value: Any) -> str:
    """The value in a line: its `repr`, cut where it is long; of a tensor or an array its shape, of a network its type.

    Example: `shown(torch.zeros(2, 3))` gives "a Tensor of shape (2, 3), torch.float32".
    """
    if (isinstance(value, Tensor) or hasattr(value, "__array_interface__")) and value.shape:
        return f"a {type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, nn.Module):
        return f"a network of type {type(value).__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def listed(parts: Sequence[str]) -> str:
    """Some things as a sentence lists them: "a", "a and b", "a, b and c".

    Example: `listed(["ACC", "ASR", "RA"])` gives "ACC, ASR and RA".
    """
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


class _Schema(GenerateJsonSchema):
    """A JSON schema that also has a place for what JSON cannot hold: instances of a class, and functions."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        if "cls" not in schema:
            return {"description": "a function"}
        if schema["cls"] in (dict, Mapping):
            return {"description": "a dictionary"}
        name = "network (torch.nn.Module)" if schema["cls"] is nn.Module else schema["cls"].__name__
        return {"description": f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"}


def _words(schema: Mapping[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return ", or ".join(_words(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return _words_for_list(schema)
    simple = {"null": "None", "boolean": "True or False", "string": "text", "object": "a dictionary"}
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
    below = schema.get("exclusiveMaximum")
    least = f"{',' if ends != ['', ''] else ''} below {below:.10g}" if below is not None else ""
    return noun + "".join(ends) + (f"{joint} {high:.10g}" if high is not None else "") + least
