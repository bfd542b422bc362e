"""Which faults can be put into a source: a walk over its syntax tree."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]

FLIPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "%": "*",
    "<<": ">>",
    ">>": "<<",
    "&&": "||",
    "||": "&&",
    "&": "|",
    "|": "&",
    "+=": "-=",
    "-=": "+=",
    "|=": "&=",
    "&=": "|=",
    "<<=": ">>=",
    ">>=": "<<=",
    "*=": "/=",
    "/=": "*=",
    "++": "--",
    "--": "++",
}
# A declaration of types or of a surface holds nothing that could be wrong here.
_SKIPPED = {
    "InlineAssembly",
    "ArrayTypeName",
    "StructDefinition",
    "EventDefinition",
    "ErrorDefinition",
    "ImportDirective",
}
_DROPPED = {"ExpressionStatement": "drop", "EmitStatement": "drop event", "RevertStatement": "drop revert"}


@dataclass(frozen=True)
class Mutant:
    """One fault: `length` bytes of `file` from `start` on become `text`."""

    file: str
    function: str
    start: int
    length: int
    text: str
    kind: str
    line: int
    before: str
    """The lines that it changes as they are, and as they become; white space made single."""
    after: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its name, which stays while other code comes and goes."""
        return self.file, self.function, self.before, self.after

    def applied(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.start + self.length :]).decode()

    def rank(self, seed: int) -> str:
        """Its place in the draw of a seed: it stays when other mutants come and go."""
        return hashlib.sha256(repr((seed, self.key)).encode()).hexdigest()


def mutants(file: str, source: str, tree: Tree) -> list[Mutant]:
    """Every mutant of one source, in the order of its text; of two that read the same one counts."""
    raw = source.encode()
    found: dict[tuple[str, str, str, str], Mutant] = {}
    for function, start, length, text, kind in _walk(tree, raw, ""):
        from_line = raw.rfind(b"\n", 0, start) + 1
        to_line = raw.find(b"\n", start + length)
        before, after = raw[from_line:to_line], raw[from_line:start] + text.encode() + raw[start + length : to_line]
        made = Mutant(
            file, function, start, length, text, kind, raw.count(b"\n", 0, start) + 1, _single(before), _single(after)
        )
        found.setdefault(made.key, made)
    return sorted(found.values(), key=lambda each: (each.start, each.length, each.text))


def sample(all_mutants: Sequence[Mutant], count: int, seed: int) -> Iterator[Mutant]:
    """Mutants in the order in which they are tried: every file has its share by size, at least one; then the rest."""
    files: dict[str, list[Mutant]] = {}
    for each in all_mutants:
        files.setdefault(each.file, []).append(each)
    first: list[Mutant] = []
    rest: list[Mutant] = []
    for ours in files.values():
        ours.sort(key=lambda each: each.rank(seed))
        share = max(1, round(count * len(ours) / len(all_mutants)))
        first += ours[:share]
        rest += ours[share:]
    yield from sorted(first, key=lambda each: each.rank(seed))
    yield from sorted(rest, key=lambda each: each.rank(seed))


def _walk(node: Any, raw: bytes, function: str) -> Iterator[tuple[str, int, int, str, str]]:
    if isinstance(node, list):
        for each in node:
            yield from _walk(each, raw, function)
        return
    if not isinstance(node, dict) or node.get("nodeType") in _SKIPPED:
        return
    kind = node.get("nodeType")
    if kind == "ContractDefinition" and node["contractKind"] == "interface":
        return
    if kind in {"FunctionDefinition", "ModifierDefinition"}:
        function = node["name"] or node.get("kind", "")
    for start, length, text, name in _faults(node, raw):
        yield function, start, length, text, name
    for value in node.values():
        yield from _walk(value, raw, function)


def _faults(node: Tree, raw: bytes) -> Iterator[tuple[int, int, str, str]]:
    kind = node.get("nodeType")
    if kind is None:
        return
    start, length = _span(node)
    _mark_choice(node, raw)
    if kind in _DROPPED and not node.get("_guarded"):
        yield start, _with_semicolon(raw, start, length), "{}", _DROPPED[kind]
    elif kind == "IfStatement":
        at, size = _span(node["condition"])
        yield at, size, f"!({raw[at : at + size].decode()})", "negate"
        if node["trueBody"]["nodeType"] == "RevertStatement":
            # Without its only statement it does what it does when it is left out.
            node["trueBody"]["_guarded"] = True
        if not node.get("falseBody"):
            yield start, _with_semicolon(raw, start, length), "{}", "drop if"
    elif kind == "Conditional":
        at, size = _span(node["condition"])
        yield at, size, f"!({raw[at : at + size].decode()})", "negate"
    elif kind == "ModifierInvocation" and node.get("kind") == "modifierInvocation":
        yield start, length, "", "drop modifier"
    elif kind == "Literal" and node["kind"] == "number" and not re.match(rb"0x[0-9a-fA-F]{40}", raw[start:]):
        yield start, length, f"({raw[start : start + length].decode()} + 1)", "constant"
    elif kind == "Literal" and node["kind"] == "bool":
        yield start, length, "false" if node["value"] == "true" else "true", "constant"
    elif kind in {"BinaryOperation", "Assignment"} and node["operator"] in FLIPS and not node.get("_choice"):
        left = node.get("leftExpression") or node["leftHandSide"]
        at = _operator_at(raw, sum(_span(left)), node["operator"])
        yield at, len(node["operator"]), FLIPS[node["operator"]], "operator"
    elif kind == "UnaryOperation" and node["operator"] in {"++", "--"}:
        at = start if node["prefix"] else start + length - 2
        yield at, 2, FLIPS[node["operator"]], "operator"
    elif kind == "UnaryOperation" and node["operator"] == "!":
        yield start, 1, "", "negate"


def _mark_choice(node: Tree, raw: bytes) -> None:
    """`a > b ? b : a` and `if (a > b) a = b` choose among equals when they are equal: a `>=` there changes nothing."""
    condition: Tree = node.get("condition") or {}
    if condition.get("operator") not in {"<", "<=", ">", ">="}:
        return
    if node["nodeType"] == "Conditional":
        chosen = [node["trueExpression"], node["falseExpression"]]
    else:
        changed: Tree = node.get("trueBody", {}).get("expression") or {}
        chosen = [changed["leftHandSide"], changed["rightHandSide"]] if changed.get("operator") == "=" else []
    if chosen and _core(chosen, raw) == _core([condition["leftExpression"], condition["rightExpression"]], raw):
        condition["_choice"] = True


def _core(sides: Iterable[Tree], raw: bytes) -> set[bytes]:
    """The texts of two expressions without casts and parentheses."""
    texts = (raw[start : start + length] for start, length in map(_span, sides))
    return {re.sub(rb"^(?:u?int\d*)?\((.*)\)$", rb"\1", text) for text in texts}


def _operator_at(raw: bytes, end: int, operator: str) -> int:
    """The place of an operator behind its left side, which may be in parentheses."""
    found = re.compile(rb"[\s)]*" + re.escape(operator.encode())).match(raw, end)
    assert found, f"no {operator} at {end}"
    return found.end() - len(operator)


def _span(node: Tree) -> tuple[int, int]:
    start, length, _ = map(int, node["src"].split(":"))
    return start, length


def _with_semicolon(raw: bytes, start: int, length: int) -> int:
    """A statement's span leaves out its semicolon in some versions of the compiler."""
    return length + (raw[start + length : start + length + 1] == b";")


def _single(code: bytes) -> str:
    return re.sub(r"\s+", " ", code.decode()).strip()
