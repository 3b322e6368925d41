"""The file of a stranger as text: what kind of thing its function is, told by the names of its arguments.

Nothing in the file is run here.
"""

import ast
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bdlib.checks import ParameterError
from bdlib.files import read_text

FORMS = {
    ("model", "clean"): "defense",
    ("make_model", "poisoned"): "defense",
    ("make_model", "poisoned", "clean"): "defense",
    ("images",): "attack",
    ("channels", "num_classes"): "network",
}
FORMS_IN_WORDS = ", ".join(f"({', '.join(form)})" for form in FORMS)
GIVEN = ("seed", "augmentation")  # keywords that a defense is given where it takes them


@dataclass(frozen=True)
class Source:
    """One function in a file."""

    path: Path
    function: str
    kind: str  # defense, attack or network
    arguments: tuple[str, ...]  # positional; none of an object
    keywords: tuple[str, ...]
    sha256: str

    @property
    def name(self) -> str:
        """What tables and records call it: the name of the file, without its ending."""
        return self.path.stem


def read_source(text: str) -> Source:
    """The function that `text` names, as FILE.py:FUNCTION.

    Raises ParameterError, and FileError for what is no file of text, in one line.

    Example: `read_source("my_defense.py:purify").arguments` is `("model", "clean")`
    """
    place, _, name = text.rpartition(":")
    if not place.endswith(".py") or not name.isidentifier():
        raise ParameterError(f"source={text!r}: must be FILE.py:FUNCTION, such as my_defense.py:purify")
    path = Path(place).absolute()
    content = read_text(path)
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ParameterError(f"source={text!r}: {path.name}{line}: it is no Python: {_reason(error)}") from None
    digest = sha256(content.encode()).hexdigest()
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Source(path, name, *_form(text, node), digest)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.ClassDef) and name in _names(node):
            return Source(path, name, "attack", (), (), digest)
    known = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "no function"
    raise ParameterError(f"source={text!r}: {path.name} has no {name}; it has {known}")


def _reason(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _names(node: ast.Assign | ast.AnnAssign | ast.ClassDef) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return []  # neither a function nor an object
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _form(text: str, node: ast.FunctionDef) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The kind of a function, its positional arguments, and its keywords. Raises ParameterError for another form."""
    given = node.args.posonlyargs + node.args.args
    required = len(given) - len(node.args.defaults)
    names = tuple(argument.arg for argument in given)
    arguments = names[:required]
    if arguments not in FORMS:
        rule = f"source={text!r}: its arguments ({', '.join(arguments)}) are of no known form"
        raise ParameterError(f"{rule}; a defense, an attack or a network takes one of {FORMS_IN_WORDS}")
    only = [argument.arg for argument in node.args.kwonlyargs]
    bare = [name for name, default in zip(only, node.args.kw_defaults, strict=True) if default is None]
    if unknown := [name for name in bare if name not in GIVEN]:
        raise ParameterError(f"source={text!r}: {unknown[0]}: a keyword must have a default")
    return FORMS[arguments], arguments, names[required:] + tuple(only)
