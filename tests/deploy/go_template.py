"""Go templates as Helm uses them, as far as our chart needs them, and strictly.

What is not known here is an error, and so is what Helm lets pass silently: a value that nobody has
set, and a list or a map that is written as it is. Source: the documentation of Go's `text/template`
and Helm's "Template Function List".
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from tests.deploy.go_functions import FUNCTIONS, TemplateError, is_true, written

_ACTION: Final = re.compile(
    r"(?P<left>\s*\{\{-(?=\s)|\{\{)\s*"
    r"(?P<body>/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^\"`}]|\}(?!\}))*?)"
    r"\s*(?P<right>(?<=\s)-\}\}\s*|\}\})",
    re.DOTALL,
)
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>\"(?:\\.|[^\"\\])*\")|(?P<raw>`[^`]*`)|(?P<number>-?\d+)"
    r"|(?P<variable>\$\w*)|(?P<field>\.\w+)|(?P<dot>\.)|(?P<word>\w+)|(?P<mark>:=|=|[|(),]))"
)
_OPENING: Final = {"if", "with", "range", "define"}

Token: TypeAlias = "tuple[str, str]"
Scope: TypeAlias = "ChainMap[str, Any]"
"""Variables, the innermost block first."""


class Text(msgspec.Struct, frozen=True):
    """What stands there as it is."""

    text: str


class Output(msgspec.Struct, frozen=True):
    """A pipeline whose value is written, or kept in variables."""

    tokens: tuple[Token, ...]


class Block(msgspec.Struct, frozen=True):
    """`if`, `with`, `range` or `define`, up to its `end`."""

    kind: str
    tokens: tuple[Token, ...]
    body: tuple[Any, ...]
    other: tuple[Any, ...]
    """After `else`."""


Node: TypeAlias = "Text | Output | Block"


class Templates:
    """Named templates, and files that are templates themselves."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """`files`: text by the name under which it can be included. Raises: TemplateError."""
        self._named: dict[str, tuple[Node, ...]] = {}
        for name, text in files.items():
            nodes = _parse(name, text)
            self._named[name] = tuple(one for one in nodes if not _is_definition(one))
            for one in filter(_is_definition, nodes):
                assert isinstance(one, Block)
                ((_, quoted),) = one.tokens
                if quoted[1:-1] in self._named:
                    raise TemplateError(f"{name}: {quoted} is defined twice")
                self._named[quoted[1:-1]] = one.body

    def render(self, name: str, dot: Any) -> str:
        """Write a template for the data that `.` stands for. Raises: TemplateError."""
        if name not in self._named:
            raise TemplateError(f"there is no template {name!r}")
        return self._write(self._named[name], dot, ChainMap({"$": dot}))

    def _write(self, nodes: tuple[Node, ...], dot: Any, scope: Scope) -> str:
        return "".join(self._write_one(node, dot, scope) for node in nodes)

    def _write_one(self, node: Node, dot: Any, scope: Scope) -> str:
        if isinstance(node, Text):
            return node.text
        if isinstance(node, Output):
            names, value = self._pipeline(node.tokens, dot, scope)
            if not names:
                return written(value)
            ((name, is_new),) = names
            places = [one for one in (scope.maps[:1] if is_new else scope.maps) if name in one]
            if is_new == bool(places):
                raise TemplateError(f"{name}: declared twice, or not at all")
            (scope if is_new else places[0])[name] = value
            return ""
        inner = scope.new_child()
        if node.kind == "range":
            return self._write_range(node, dot, inner)
        names, value = self._pipeline(node.tokens, dot, scope)
        inner.update((name, value) for name, _ in names)
        if is_true(value):
            return self._write(node.body, value if node.kind == "with" else dot, inner)
        return self._write(node.other, dot, inner)

    def _write_range(self, node: Block, dot: Any, scope: Scope) -> str:
        names, value = self._pipeline(node.tokens, dot, scope)
        if not isinstance(value, list):
            raise TemplateError(f"range over {value!r}: only lists are known here")
        parts = []
        for number, element in enumerate(value):
            inner = scope.new_child()
            given = [element] if len(names) == 1 else [number, element]
            inner.update((name, one) for (name, _), one in zip(names, given, strict=False))
            parts.append(self._write(node.body, element, inner))
        return "".join(parts) if parts else self._write(node.other, dot, scope)

    def _pipeline(
        self, tokens: tuple[Token, ...], dot: Any, scope: Scope
    ) -> tuple[list[tuple[str, bool]], Any]:
        """Give the variables that are set (and whether they are new), and the value."""
        names: list[tuple[str, bool]] = []
        rest = list(tokens)
        for mark in (":=", "="):
            if ("mark", mark) in rest:
                at = rest.index(("mark", mark))
                names = [(text, mark == ":=") for kind, text in rest[:at] if kind == "variable"]
                rest = rest[at + 1 :]
                break
        return names, _Evaluation(self, dot, scope, rest).whole()


class _Evaluation:
    """One pipeline being worked out."""

    def __init__(self, templates: Templates, dot: Any, scope: Scope, tokens: list[Token]) -> None:
        self._templates = templates
        self._dot = dot
        self._scope = scope
        self._tokens = tokens
        self._at = 0

    def whole(self) -> Any:
        """Work it out to the end."""
        value = self._stages()
        if self._peek() != ("", ""):
            raise TemplateError(f"unexpected {self._peek()[1]!r}")
        return value

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _stages(self) -> Any:
        value = self._command([])
        while self._peek() == ("mark", "|"):
            self._next()
            value = self._command([value])
        return value

    def _command(self, piped: list[Any]) -> Any:
        kind, text = self._peek()
        if kind == "word" and text not in {"true", "false", "nil"}:
            self._next()
            arguments = []
            while self._peek() not in {("", ""), ("mark", "|"), ("mark", ")")}:
                arguments.append(self._operand())
            return self._call(text, [*arguments, *piped])
        if piped:
            raise TemplateError(f"{text!r} is no function and takes no value")
        return self._operand()

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "include":
            template, dot = arguments
            return self._templates.render(template, dot)
        if name not in FUNCTIONS:
            raise TemplateError(f"the function {name!r} is not known here")
        try:
            return FUNCTIONS[name](*arguments)
        except TypeError as error:
            raise TemplateError(f"{name}: {error}") from error

    def _operand(self) -> Any:
        kind, text = self._next()
        value: Any
        if kind == "string":
            value = msgspec.json.decode(text)
        elif kind == "raw":
            value = text[1:-1]
        elif kind == "number":
            value = int(text)
        elif kind == "word" and text in {"true", "false"}:
            value = text == "true"
        elif kind == "variable":
            if text not in self._scope:
                raise TemplateError(f"{text} is not set")
            value = self._scope[text]
        elif kind == "dot":
            value = self._dot
        elif kind == "field":
            value = _field(self._dot, text[1:])
        elif (kind, text) == ("mark", "("):
            value = self._stages()
            if self._next() != ("mark", ")"):
                raise TemplateError("a bracket is not closed")
        else:
            raise TemplateError(f"{text!r} is no value")
        while kind in {"variable", "field", "mark"} and self._peek()[0] == "field":
            value = _field(value, self._next()[1][1:])
        return value


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping) or name not in value:
        raise TemplateError(f".{name} is not set: Helm would write nothing")
    return value[name]


def _is_definition(node: Node) -> bool:
    return isinstance(node, Block) and node.kind == "define"


def _parse(name: str, text: str) -> list[Node]:
    pieces = _pieces(name, text)
    nodes, ended_by = _nodes(name, pieces)
    if ended_by:
        raise TemplateError(f"{name}: {ended_by} too many")
    return nodes


def _pieces(name: str, text: str) -> Iterator[str | tuple[Token, ...]]:
    at = 0
    for found in _ACTION.finditer(text):
        plain = text[at : found.start()]
        if "{{" in plain:
            raise TemplateError(f"{name}: cannot be read: {plain[plain.index('{{') :]!r}")
        yield plain
        at = found.end()
        if not found["body"].startswith("/*"):
            yield _tokens(name, found["body"])
    if "{{" in text[at:]:
        raise TemplateError(f"{name}: an action is not closed")
    yield text[at:]


def _tokens(name: str, body: str) -> tuple[Token, ...]:
    tokens: list[Token] = []
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None or found.lastgroup is None:
            raise TemplateError(f"{name}: cannot be read: {body[at:]!r}")
        spaced = body[at : found.start(found.lastgroup)] != ""
        kind = found.lastgroup
        if kind == "field" and spaced:  # `index . .x`: a new operand, not a field of the last one
            tokens.append(("mark", "("))
            tokens.append((kind, found[kind]))
            at = found.end()
            while (more := re.compile(r"\.\w+").match(body, at)) is not None:
                tokens.append(("field", more[0]))
                at = more.end()
            tokens.append(("mark", ")"))
            continue
        tokens.append((kind, found[kind]))
        at = found.end()
    return tuple(tokens)


def _nodes(name: str, pieces: Iterator[str | tuple[Token, ...]]) -> tuple[list[Node], str]:
    """Read up to the `end` or `else` that closes this level; say which it was."""
    nodes: list[Node] = []
    for piece in pieces:
        if isinstance(piece, str):
            nodes.append(Text(piece))
            continue
        if not piece:
            raise TemplateError(f"{name}: an empty action")
        kind, word = piece[0]
        if kind == "word" and word in {"end", "else"}:
            if len(piece) > 1:
                raise TemplateError(f"{name}: `{word}` stands alone here")
            return nodes, word
        if kind == "word" and word in _OPENING:
            body, ended_by = _nodes(name, pieces)
            other: list[Node] = []
            if ended_by == "else":
                other, ended_by = _nodes(name, pieces)
            if ended_by != "end":
                raise TemplateError(f"{name}: `{word}` has no end")
            nodes.append(Block(word, piece[1:], tuple(body), tuple(other)))
            continue
        nodes.append(Output(piece))
    return nodes, ""
