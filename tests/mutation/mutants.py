"""Which small changes are made: cosmic-ray's operators and one of ours, without those that nobody could notice (RULES)."""

import ast
import marshal
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PARTS: Final = ("agent/core", "agent/ocpp_client/queue.py", "agent/store")
RULES: Final = {
    "type": "types: annotations, aliases of types and their strings, TYPE_CHECKING",
    "identity": "`is` replaced by anything but `is not`: members of enums and None have one identity and no order; `==` by `is`",
    "arithmetic": "all but two replacements of an arithmetic operator: the rest only raise TypeError, which would flatter the figure",
    "log": "what is written to a log",
    "shape": "frozen, slots, kw_only, strict, repr: they guard the author, not the session",
    "same": "the same bytecode as the original or as an earlier mutant",
}
"""Mutants that are left out, each with the reason."""
_NEAREST: Final = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Add", "FloorDiv"),
    "Div": ("Mul", "FloorDiv"),
    "FloorDiv": ("Mul", "Add"),
    "Pow": ("Mul", "Add"),
    "Mod": ("FloorDiv", "Mul"),
    "BitOr": ("BitAnd", "BitXor"),
    "BitAnd": ("BitOr", "BitXor"),
}
_NEGATIONS: Final = frozenset((("Is", "IsNot"), ("IsNot", "Is")))
_SHAPES: Final = frozenset(("frozen", "slots", "kw_only", "strict", "repr"))
_LOGGERS: Final = frozenset(("logger", "_logger", "log", "_log", "LOG", "_LOG"))

Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module."""

    path: str
    line: int
    operator: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """For people: where, and what was changed to what."""
        return f"{self.path}:{self.line}: {self.before.strip()}  ->  {self.after.strip()}  ({self.operator})"


def modules(only: str = "") -> list[Path]:
    """The modules that are changed."""
    found = [path for part in PARTS for path in (sorted((ROOT / part).glob("*.py")) if (ROOT / part).is_dir() else [ROOT / part])]
    return [path for path in found if only in path.as_posix()]


class _Module:
    """One module, parsed once, and where it can be changed."""

    def __init__(self, path: Path, left_out: Counter[str]) -> None:
        from cosmic_ray.ast import ast_nodes, get_ast

        self.path = path.relative_to(ROOT).as_posix()
        self._source = path.read_text(encoding="utf-8")
        self._parsed = get_ast(self._source)
        self._left_out = left_out
        self._seen = {_fingerprint(self._source)}
        tree = ast.parse(self._source)
        spans = {rule: list(_spans(tree, rule)) for rule in ("type", "log", "shape")}
        nodes = list(ast_nodes(self._parsed))
        self.places: list[tuple[str, Any, Any, int, int]] = []
        for name, operator in _operators():
            for node in nodes:
                for index, (begin, _) in enumerate(operator.mutation_positions(node)):
                    rule = _rule(name, begin, spans)
                    if rule:
                        left_out[rule] += 1
                    else:
                        self.places.append((name, operator, node, index, begin[0]))

    def mutant(self, place: tuple[str, Any, Any, int, int]) -> Mutant | None:
        """Make one; None where it could not be noticed, or is no Python."""
        name, operator, node, index, line = place
        changed = _mutated(self._parsed, node, operator, index)
        mark = _fingerprint(changed)
        if not mark or mark in self._seen:
            self._left_out["same"] += 1
            return None
        self._seen.add(mark)
        line, before, after = _difference(self._source.splitlines(), changed.splitlines(), line)
        return Mutant(path=self.path, line=line, operator=name, before=before, after=after, source=changed)


def sample(size: int, seed: int, only: str = "") -> tuple[list[Mutant], int, Counter[str]]:
    """Draw so many of all mutants (0: all); how many places there are, and what was left out by rule."""
    left_out: Counter[str] = Counter()
    every = [(module, place) for module in (_Module(path, left_out) for path in modules(only)) for place in module.places]
    random.Random(seed).shuffle(every)
    chosen: list[Mutant] = []
    for module, place in every:
        mutant = module.mutant(place)
        if mutant is not None:
            chosen.append(mutant)
        if len(chosen) == size:
            break
    return sorted(chosen, key=lambda one: (one.path, one.line)), len(every), left_out


def _operators() -> list[tuple[str, Any]]:
    from cosmic_ray.operators.provider import OperatorProvider

    provider = OperatorProvider()
    names = [name for name in provider if not name.startswith("Variable")]  # those two need names of variables
    return [*((name, provider[name]()) for name in names), ("DropStatement", drop_statement())]


def drop_statement() -> Any:
    """One operator more: a call, or an assignment to an attribute, does not happen."""
    from cosmic_ray.operators.operator import Operator
    from parso.python.tree import Keyword

    class DropStatement(Operator):  # type: ignore[misc, unused-ignore]
        def mutation_positions(self, node: Any) -> Iterator[Any]:
            if node.type == "simple_stmt" and _has_effect(node.children[0]):
                yield node.start_pos, node.end_pos

        def mutate(self, node: Any, index: int) -> Any:
            first = node.children[0]
            node.children[0] = Keyword("pass", first.start_pos, prefix=first.get_first_leaf().prefix)
            return node

        @classmethod
        def examples(cls) -> tuple[()]:
            return ()

    return DropStatement()


def _has_effect(node: Any) -> bool:
    if node.type == "atom_expr":
        return str(node.children[-1].type) == "trailer" and node.children[-1].children[0].value == "("
    return node.type == "expr_stmt" and node.children[0].type == "atom_expr"


def _rule(name: str, begin: tuple[int, int], spans: dict[str, list[Span]]) -> str:
    """The rule by which a mutant is left out, or nothing."""
    for rule, own in spans.items():
        if any(_is_within(begin, span) for span in own):
            return rule
    if name.startswith("ReplaceComparisonOperator_"):
        _, old, new = name.split("_")
        if {old, new} & {"Is", "IsNot"} and (old, new) not in _NEGATIONS:
            return "identity"
    if name.startswith("ReplaceBinaryOperator_"):
        _, old, new = name.split("_")
        if new not in _NEAREST.get(old, ()):
            return "arithmetic"
    return ""


def _is_within(begin: tuple[int, int], span: Span) -> bool:
    return (span[0], span[1]) <= begin < (span[2], span[3])


def _spans(tree: ast.Module, rule: str) -> Iterator[Span]:
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=annotation) if rule == "type":
                yield _span(annotation)
                if isinstance(annotation, ast.Name) and annotation.id == "TypeAlias" and node.value is not None:
                    yield _span(node.value)
            case ast.arg(annotation=ast.expr() as annotation) if rule == "type":
                yield _span(annotation)
            case ast.FunctionDef(returns=ast.expr() as returns) | ast.AsyncFunctionDef(returns=ast.expr() as returns) if rule == "type":
                yield _span(returns)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if rule == "type":
                yield _span(node)
            case ast.Call(func=ast.Name(id="cast"), args=[first, *_]) if rule == "type":
                yield _span(first)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if rule == "log" and name in _LOGGERS:
                yield _span(node)
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name))) if rule == "log" and name in _LOGGERS:
                yield _span(node)
            case ast.keyword(arg=name) if rule == "shape" and name in _SHAPES:
                yield _span(node)
            case _:
                pass
    if rule == "type":
        for one in tree.body:
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.BinOp) and isinstance(one.value.op, ast.BitOr):
                yield _span(one.value)  # X = A | B


def _span(node: ast.expr | ast.stmt | ast.keyword) -> Span:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def _mutated(tree: Any, node: Any, operator: Any, index: int) -> str:
    """The changed source. The tree is the same afterwards."""
    from cosmic_ray.ast import ast_nodes

    within = list(ast_nodes(node))
    children = [(one, list(one.children)) for one in within if hasattr(one, "children")]
    leaves = [(one, one.value, one.prefix) for one in within if hasattr(one, "value")]
    siblings = None if node.parent is None else node.parent.children
    place = None if siblings is None else siblings.index(node)
    try:
        try:
            new = operator.mutate(node, index)
        except AttributeError:  # cosmic-ray's own limits: names with dots after `except`
            return ""
        if siblings is not None and place is not None and new is not node:
            siblings[place : place + 1] = [] if new is None else [new]
            text = str(tree.get_code())
            siblings[place : place + (0 if new is None else 1)] = [node]
            return text
        return str(tree.get_code())
    finally:
        for one, kept in children:
            one.children = kept
        for one, value, prefix in leaves:
            one.value, one.prefix = value, prefix


def _fingerprint(source: str) -> bytes:
    """The bytecode without line numbers and names of places; nothing where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `is` with a literal
            return marshal.dumps(bare(compile(source, "m", "exec")))
    except (SyntaxError, ValueError):
        return b""


def bare(code: CodeType) -> CodeType:
    """Code without where it stands in its file."""
    consts = tuple(bare(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_consts=consts, co_linetable=b"", co_firstlineno=1, co_filename="")


def _difference(old: Sequence[str], new: Sequence[str], line: int) -> tuple[int, str, str]:
    for number, (before, after) in enumerate(zip(old, new, strict=False), 1):
        if before != after:
            return number, before, after
    return line, old[line - 1], "(nothing)"
