"""Reads PromQL as strictly as Prometheus does, for what our alerts and dashboards use of it.

Types are checked (`rate` takes a range, a comparison does not), and of every metric it is noted by
which labels it is selected, grouped and matched.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, NoReturn, TypeAlias

Type: TypeAlias = Literal["scalar", "instant", "range", "string"]

FUNCTIONS: Final[dict[str, tuple[tuple[Type, ...], Type]]] = {
    "abs": (("instant",), "instant"),
    "absent": (("instant",), "instant"),
    "changes": (("range",), "instant"),
    "clamp_min": (("instant", "scalar"), "instant"),
    "floor": (("instant",), "instant"),
    "histogram_quantile": (("scalar", "instant"), "instant"),
    "increase": (("range",), "instant"),
    "label_values": (("instant", "string"), "instant"),
    "max_over_time": (("range",), "instant"),
    "predict_linear": (("range", "scalar"), "instant"),
    "rate": (("range",), "instant"),
    "time": ((), "scalar"),
    "timestamp": (("instant",), "instant"),
}
AGGREGATIONS: Final = {"avg", "count", "max", "min", "sum"}
LEVELS: Final = (
    ("or",), ("and", "unless"), ("==", "!=", "<=", "<", ">=", ">"), ("+", "-"), ("*", "/", "%"),
    ("^",),
)  # fmt: skip
SETS: Final = {"and", "or", "unless"}
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<duration>\[(?:[0-9]+[smhdw]|\$__rate_interval)\])
    |(?P<number>[0-9]+(?:\.[0-9]+)?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<op>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){},]))""",
    re.VERBOSE,
)


class BadQuery(AssertionError):
    """What stands there is no PromQL, or none that this reader knows."""


class Use(NamedTuple):
    """A metric, and a label that something is asked of it by."""

    metric: str
    label: str
    values: str = ""
    """What it is compared with, where it is; the operator first."""


class Query:
    """An expression that was read."""

    def __init__(self, text: str) -> None:
        """Raises: BadQuery."""
        self.metrics: dict[str, None] = {}
        self.uses: list[Use] = []
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self.type: Type = self._binary(0)
        if self._at != len(self._tokens):
            self._fail(f"{self._peek()!r} is left over")

    def _binary(self, level: int) -> Type:
        if level == len(LEVELS):
            return self._unary()
        left_from = len(self.metrics)
        left = self._binary(level + 1)
        while (op := self._peek()) in LEVELS[level]:
            self._next()
            names = self._matching()
            right = self._binary(level + 1)
            for one in (left, right):
                if one not in {"scalar", "instant"} or (op in SETS and one == "scalar"):
                    self._fail(f"{op} does not take a {one}")
            for metric in list(self.metrics)[left_from:]:
                self.uses += [Use(metric, name) for name in names]
            left = "instant" if "instant" in {left, right} else "scalar"
        return left

    def _matching(self) -> list[str]:
        if self._peek() in {"on", "ignoring"}:
            self._next()
            return self._names()
        return []

    def _unary(self) -> Type:
        if self._peek() == "-":
            self._next()
        token = self._next()
        if token == "(":
            found = self._binary(0)
            self._expect(")")
            return found
        if re.fullmatch(r"[0-9.]+", token):
            return "scalar"
        if token.startswith('"'):
            return "string"
        if token in AGGREGATIONS and self._peek() in {"(", "by", "without"}:
            return self._aggregation()
        if self._peek() == "(":
            return self._call(token)
        return self._selector(token)

    def _aggregation(self) -> Type:
        names: list[str] = []
        if self._peek() in {"by", "without"}:
            self._next()
            names = self._names()
        first = len(self.uses)
        before = dict(self.metrics)
        self.metrics.clear()
        self._expect("(")
        inner = self._binary(0)
        self._expect(")")
        if inner != "instant":
            self._fail(f"an aggregation does not take a {inner}")
        self.uses[first:first] = [Use(metric, name) for metric in self.metrics for name in names]
        self.metrics = before | self.metrics
        return "instant"

    def _call(self, name: str) -> Type:
        if name not in FUNCTIONS:
            self._fail(f"{name} is no function")
        wanted, gives = FUNCTIONS[name]
        self._expect("(")
        given: list[Type] = []
        while self._peek() != ")":
            given.append(self._binary(0))
            if self._peek() == ",":
                self._next()
        self._expect(")")
        if tuple(given) != wanted:
            self._fail(f"{name} takes {wanted}, not {tuple(given)}")
        return gives

    def _selector(self, metric: str) -> Type:
        if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", metric):
            self._fail(f"{metric!r} stands where a metric should")
        self.metrics[metric] = None
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                label, op, value = self._next(), self._next(), self._next()
                if op not in {"=", "!=", "=~", "!~"} or not value.startswith('"'):
                    self._fail(f"{label}{op}{value} is no matcher")
                if "~" in op:
                    re.compile(value[1:-1])
                self.uses.append(Use(metric, label, op + value[1:-1]))
                if self._peek() == ",":
                    self._next()
            self._expect("}")
        if self._peek().startswith("["):
            self._next()
            return "range"
        return "instant"

    def _names(self) -> list[str]:
        self._expect("(")
        names = []
        while self._peek() != ")":
            names.append(self._next())
            if self._peek() == ",":
                self._next()
        self._expect(")")
        return names

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            self._fail("it ends too early")
        self._at += 1
        return token

    def _expect(self, wanted: str) -> None:
        if (found := self._next()) != wanted:
            self._fail(f"{wanted!r} is missing before {found!r}")

    def _fail(self, why: str) -> NoReturn:
        raise BadQuery(f"{why}: {self._text}")


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadQuery(f"{text[at:]!r} is no token: {text}")
        found.append(match[0].strip())
        at = match.end()
    return found
