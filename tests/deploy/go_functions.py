"""The functions of Go templates and of Helm that our chart uses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import yaml

FLOAT_WRITTEN_PLAINLY_MAX: Final = 1_000_000
"""Helm reads numbers of values as floats, and writes those from here on as `1e+06`."""


class TemplateError(Exception):
    """The template is wrong, or it refuses its values."""


def is_true(value: Any) -> bool:
    """Say whether a value counts as true: what is empty or zero does not."""
    return bool(value)


def written(value: Any) -> str:
    """Write a value as an action does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) < FLOAT_WRITTEN_PLAINLY_MAX:
        return str(value)
    raise TemplateError(f"{value!r} is not written as anybody wants it")


class _Dumper(yaml.SafeDumper):
    """Quotes as Helm does."""

    def choose_scalar_style(self) -> str:
        style = super().choose_scalar_style()
        return '"' if style == "'" else style


def _to_yaml(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, width=2**31)
    return text.removesuffix("\n").removesuffix("\n...")


def _quote(value: Any) -> str:
    return msgspec.json.encode(written(value)).decode()


def _nindent(spaces: int, text: str) -> str:
    return "\n" + "\n".join(" " * spaces + line for line in text.split("\n"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError) as error:
            raise TemplateError(f"index: there is no {key!r}") from error
    return value


def _printf(text: str, *arguments: Any) -> str:
    verbs = re.findall(r"%.", text)
    if len(verbs) != len(arguments) or not set(verbs) <= {"%s", "%d", "%v"}:
        raise TemplateError(f"printf: {text!r} with {len(arguments)} values")
    for verb, value in zip(verbs, arguments, strict=True):
        if isinstance(value, str) == (verb == "%d"):
            raise TemplateError(f"printf: {verb} of {value!r}")
    rest = iter(arguments)
    return re.sub(r"%.", lambda _: written(next(rest)), text)


def _print(*arguments: str) -> str:
    if not all(isinstance(one, str) for one in arguments):
        raise TemplateError("print: between other things than strings it puts blanks")
    return "".join(arguments)


def _required(message: str, value: Any) -> Any:
    return value if value not in (None, "") else _fail(message)


def _fail(message: str) -> Any:
    raise TemplateError(message)


def _has_key(value: Mapping[str, Any], key: str) -> bool:
    return key in value


def _and(*values: Any) -> Any:
    return next((one for one in values if not is_true(one)), values[-1])


def _or(*values: Any) -> Any:
    return next((one for one in values if is_true(one)), values[-1])


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "and": _and,
    "default": lambda fallback, value: value if is_true(value) else fallback,
    "fail": _fail,
    "has": lambda value, values: value in values,
    "hasKey": _has_key,
    "index": _index,
    "int": int,
    "list": lambda *values: list(values),
    "lt": lambda one, other: one < other,
    "add": lambda *values: sum(values),
    "div": lambda one, other: one // other,
    "nindent": _nindent,
    "not": lambda value: not is_true(value),
    "or": _or,
    "print": _print,
    "printf": _printf,
    "quote": _quote,
    "required": _required,
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "toYaml": _to_yaml,
    "trimSuffix": lambda suffix, text: text.removesuffix(suffix),
    "trunc": lambda length, text: text[:length],
    "until": lambda count: list(range(count)),
}
