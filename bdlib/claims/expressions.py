"""What a claim measures, written as an expression: `asr("NAD") - asr("fine-tuning")`, evaluated over records.

The expression is read by Python's parser and walked here; nothing in it is executed, and what is not listed in
`ALLOWED` is refused. A function gives its score for each group and seed, so that differences are paired by seed.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

import pandas as pd

from bdlib.experiments.records import no_runs
from bdlib.experiments.victims import VictimConfig

SCORES = {"acc": "clean_accuracy", "asr": "asr", "ra": "robust_accuracy"}  # each with a value before and after
PLAIN = ("der", "seconds")  # one value a run
NOT_MEASURED = [*no_runs({}).columns, "method"]
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
ALLOWED = (
    'allowed are numbers, + - * /, abs(...), acc asr ra der seconds("method", parameter=value), '
    'measured("name", "method", parameter=value)'
)

Value: TypeAlias = Any  # a float, or a series of them


class ExpressionError(ValueError):
    """An expression that is not allowed, or that the records cannot answer unambiguously; one line."""


def parse(text: str) -> ast.expr:
    """The expression as a tree. Raises ExpressionError for anything that is not allowed in one."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise ExpressionError(f"{text!r} is not an expression; {ALLOWED}") from None
    allow(tree)
    if not calls(tree):
        raise ExpressionError(f"{text!r} reads no record; {ALLOWED}")
    return tree


def allow(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return allow(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            allow(left)
            return allow(right)
        case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
            return allow(inner)
        case ast.Call(func=ast.Name(id=name), args=words, keywords=filters) if well_called(name, words):
            for keyword in filters:
                literal(keyword)
            return None
    raise ExpressionError(f"{ast.unparse(node)} is not allowed; {ALLOWED}")


def well_called(name: str, words: list[ast.expr]) -> bool:
    """Whether a function of records is there, and has as many pieces of text as it takes."""
    count = 2 if name == "measured" else 1 if name in {*SCORES, *PLAIN} else 0
    return len(words) == count > 0 and all(isinstance(w, ast.Constant) and isinstance(w.value, str) for w in words)


def literal(keyword: ast.keyword) -> Any:
    """The value of a filter: a number, text, true or false, or a list of them as a tuple, as tables hold lists."""
    try:
        value = ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError):
        value = None
    value = tuple(value) if isinstance(value, list) else value
    if keyword.arg is None or not isinstance(value, (int, float, str, tuple)):
        raise ExpressionError(f"{ast.unparse(keyword)} is not allowed; {ALLOWED}")
    return value


def calls(tree: ast.expr) -> list[ast.Call]:
    """The functions of records in an expression."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if name_of(node) != "abs"]


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def measures(text: str) -> list[str]:
    """The names of all `measured` columns that an expression reads."""
    names = [node.args[0].value for node in calls(parse(text)) if name_of(node) == "measured"]  # type: ignore[attr-defined]
    return list(dict.fromkeys(names))


def evaluate(text: str, runs: pd.DataFrame, each: str) -> pd.Series:
    """The expression for every group and seed: a series of floats, its index the levels (`each`, seed), groups as text.

    `runs` is a study as `bdlib.studies.load_study` gives it. A function that fixes the column `each` by a filter goes
    with every group of the others; where all do, there is one group, named after what they fix.
    """
    tree = parse(text)
    if each not in runs:
        raise ExpressionError(f"there is no column {each} to judge by; there are {', '.join(parameters(runs))}")
    found = walk(tree, runs, each)
    assert isinstance(found, pd.Series)
    if found.index.nlevels == 1:
        fixed = [shown(literal(keyword)) for call in calls(tree) for keyword in call.keywords if keyword.arg == each]
        name = " and ".join(dict.fromkeys(fixed))
        found.index = pd.MultiIndex.from_tuples([(name, seed) for seed in found.index], names=[each, "seed"])
    return found


def walk(node: ast.expr, runs: pd.DataFrame, each: str) -> Value:
    """The value of a tree that `allow` has let pass."""
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type]
        case ast.UnaryOp(operand=operand):
            return -walk(operand, runs, each)
        case ast.BinOp(left=left, op=sign, right=right):
            one, other = paired(walk(left, runs, each), walk(right, runs, each))
            if isinstance(other, float) and other == 0 and isinstance(sign, ast.Div):
                raise ExpressionError(f"{ast.unparse(node)} divides by zero")
            return OPERATORS[type(sign)](one, other)
        case ast.Call(func=ast.Name(id="abs"), args=[inner]):
            return abs(walk(inner, runs, each))
        case ast.Call():
            return scores(node, runs, each)
    raise AssertionError(node)


def paired(one: Value, other: Value) -> tuple[Value, Value]:
    """Two series on the groups and seeds that both have; one without groups goes with every group of the other."""
    if not isinstance(one, pd.Series) or not isinstance(other, pd.Series):
        return one, other
    if one.index.nlevels < other.index.nlevels:
        one = spread(one, other)
    elif one.index.nlevels > other.index.nlevels:
        other = spread(other, one)
    left, right = one.align(other, join="inner")
    return left, right


def spread(narrow: pd.Series, wide: pd.Series) -> pd.Series:
    """A series by seed, repeated for every group of another."""
    kept = wide[wide.index.get_level_values("seed").isin(narrow.index)]
    return pd.Series(narrow.loc[kept.index.get_level_values("seed")].to_numpy(), kept.index)


def scores(call: ast.Call, runs: pd.DataFrame, each: str) -> pd.Series:
    """What one function of records gives: a value for each group and seed, or for each seed where it fixes `each`."""
    name, (*first, method) = name_of(call), [word.value for word in call.args]  # type: ignore[attr-defined]
    column = column_of(name, first, method)
    where = {str(keyword.arg): literal(keyword) for keyword in call.keywords}
    mine = runs if method == "victim" else runs[runs["method"] == method]
    for parameter, wanted in where.items():
        if parameter not in runs:
            raise ExpressionError(f"{parameter}={wanted!r}: no such parameter; there are {', '.join(parameters(runs))}")
        mine = mine[mine[parameter].map(lambda value, wanted=wanted: value == wanted).astype(bool)]
    if name == "measured" and len(mine) and (column not in mine or mine[column].isna().all()):
        known = [str(name) for name in mine if name not in parameters(runs) + NOT_MEASURED and mine[name].notna().any()]
        raise ExpressionError(
            f"{column!r} is not measured of {method} in this study; {', '.join(known) or 'nothing'} is"
        )
    if column not in mine or mine.empty:
        mine = mine.iloc[:0].assign(**{column: pd.Series(dtype=float)})
    by = ["seed"] if each in where else [each, "seed"]
    mine = mine.assign(**{each: [shown(value) for value in mine[each]]}).dropna(subset=[column])
    groups = mine.groupby(by, sort=False)
    refuse_ambiguity(mine, groups, method, ast.unparse(call))
    return groups[column].mean().astype(float)


def column_of(name: str, first: list[str], method: str) -> str:
    if name in SCORES:
        return f"{SCORES[name]}_{'before' if method == 'victim' else 'after'}"
    if method == "victim":
        raise ExpressionError(f'{name} has no value for "victim": only acc, asr and ra have one before the defence')
    return first[0] if name == "measured" else name


def refuse_ambiguity(mine: pd.DataFrame, groups: Any, method: str, words: str) -> None:
    """A method has one run for each group and seed, a victim as many as there were defences; not more kinds of it."""
    recipe = [field.name for field in fields(VictimConfig)]
    telling = [name for name in parameters(mine) if name in recipe or method != "victim"]
    for key, group in groups:
        differ = [c for c in telling if len(group) > 1 and group[c].astype(str).nunique() > 1]
        if differ or (method != "victim" and len(group) > 1):
            raise ExpressionError(
                f"{words} has {len(group)} runs for {key}: choose by {', '.join(differ) or 'a filter'}"
            )


def shown(value: Any) -> str:
    """A parameter's value as the name of a group."""
    if isinstance(value, (list, tuple)):
        return "-".join(shown(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def parameters(runs: pd.DataFrame) -> list[str]:
    """The columns of a study that are parameters: those before the scores."""
    names = [str(name) for name in runs.columns]
    return names[: names.index("clean_accuracy_before")]
