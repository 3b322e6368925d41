"""What the two processes say to each other: facts as JSON and tensors as safetensors. Nothing is unpickled."""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from safetensors import SafetensorError
from torch import Tensor

from bdlib.data.tensor_files import bytes_of, tensors_in

Stream: TypeAlias = Any  # a binary stream; the tests' shape checks do not know the type of all of them
LENGTHS = struct.Struct("<IQ")  # bytes of the JSON, bytes of the tensors
MOST_FACTS = 1_000_000  # bytes


class MessageError(ValueError):
    """What came is no message."""


class Message(NamedTuple):
    """One message. `facts["is"]` says of which kind it is."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def write_message(stream: Stream, facts: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write one message. Raises OSError where nobody reads any more.

    Example: `write_message(stream, {"is": "answer"}, {"answer": logits})`
    """
    text, content = json.dumps(facts).encode(), bytes_of(tensors or {})
    stream.write(LENGTHS.pack(len(text), len(content)))
    stream.write(text)
    stream.write(content)
    stream.flush()


def read_message(stream: Stream, most: Callable[[], int] = lambda: 2**40) -> Message | None:
    """The next message; None at the end of the stream. `most` says how many bytes its tensors may take when it comes.

    Raises MessageError for anything that `write_message` does not write.
    """
    head = _read(stream, LENGTHS.size)
    if not head:
        return None
    if len(head) < LENGTHS.size:
        raise MessageError("it breaks off")
    lengths = LENGTHS.unpack(head)
    if lengths[0] > MOST_FACTS or lengths[1] > most():
        raise MessageError(f"it has {sum(lengths):,} bytes, more than asked for")
    text, content = (_read(stream, length) for length in lengths)
    if len(text) + len(content) < sum(lengths):
        raise MessageError("it breaks off")
    try:
        facts = json.loads(text)
        tensors = tensors_in(content)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise MessageError(f"it cannot be read: {error}") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("is"), str):
        raise MessageError("it does not say what it is")
    return Message(facts, tensors)


def _read(stream: Stream, count: int) -> bytes:
    """So many bytes; fewer where the stream ends."""
    parts = []
    while count and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
