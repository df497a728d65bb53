"""The one way JSON comes in: bounded bytes, strict syntax, known types.

Syntax is refused with `malformed` (400), size with `too_large` (413), types and missing members
with `unprocessable` (422) and a JSON pointer. Unknown members are ignored (contract, section 2.3).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn, TypeVar

import falcon
import msgspec
from gunicorn.http.errors import ParseException

from felix.http.errors import BodyTooSlow
from felix.proto.errors import Malformed, TooLarge, Unprocessable

T = TypeVar("T", bound=msgspec.Struct)

_READ_BYTES: Final = 1 << 16
_JSON_TYPE: Final = re.compile(r"application/(?:[a-z0-9!#$&^_.-]+\+)?json", re.IGNORECASE)
_PATH_AT: Final = re.compile(r" - at `\$(?P<path>.*)`$")
_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]+)`")
_UNKNOWN: Final = re.compile(r"contains unknown field `(?P<name>[^`]+)`")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")


def read_object(req: falcon.Request, kind: type[T], *, bytes_max: int, depth_max: int) -> T:
    """Read a request's JSON object as a record.

    Raises: Malformed, TooLarge, Unprocessable, BodyTooSlow, falcon.HTTPUnsupportedMediaType.
    """
    media_type = (req.content_type or "").partition(";")[0].strip()
    if not _JSON_TYPE.fullmatch(media_type):
        raise falcon.HTTPUnsupportedMediaType(
            description="the body must be JSON: send Content-Type: application/json"
        )
    return to_record(parse(read_bytes(req, bytes_max), depth_max=depth_max), kind)


def read_bytes(req: falcon.Request, bytes_max: int) -> bytes:
    """Read a request's body, chunked or not, and never more than the limit.

    Raises: TooLarge, Malformed, BodyTooSlow.
    """
    length = req.content_length
    if length is not None and length > bytes_max:
        raise TooLarge(f"the body has {length} bytes, at most {bytes_max} are taken")
    if length is None and not req.env.get("wsgi.input_terminated"):
        return b""  # nothing says where such a body would end
    wanted = bytes_max + 1 if length is None else length
    body = bytearray()
    try:
        while len(body) < wanted:
            piece = req.stream.read(min(_READ_BYTES, wanted - len(body)))
            if not piece:
                break
            body += piece
    except (TimeoutError, BlockingIOError) as error:
        raise BodyTooSlow("the rest of the body did not arrive in time") from error
    except (OSError, ParseException) as error:
        raise Malformed("the body is not framed as HTTP demands") from error
    if len(body) > bytes_max:
        raise TooLarge(f"the body has more than {bytes_max} bytes")
    if length is not None and len(body) < length:
        raise Malformed(f"the body ends after {len(body)} of {length} bytes")
    return bytes(body)


def parse(body: bytes, *, depth_max: int) -> object:
    """Parse JSON that every later reader will understand the same way.

    Refuses duplicate keys, NaN and infinities, lone surrogates, trailing data, invalid UTF-8,
    integers of thousands of digits and deep nesting. Raises: Malformed.
    """
    try:
        text = body.decode()
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Malformed(f"the body is nested deeper than {depth_max} levels") from error
    except UnicodeEncodeError as error:
        raise Malformed("the body has a lone surrogate") from error
    except UnicodeDecodeError as error:
        raise Malformed("the body is not UTF-8") from error
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if _is_deeper_than(value, depth_max):
        raise Malformed(f"the body is nested deeper than {depth_max} levels")
    return value


def to_record(value: object, kind: type[T]) -> T:
    """Check the types of parsed JSON. Raises: Unprocessable, with `details["pointer"]`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _unprocessable(str(error)) from error


def unprocessable(pointer: str, problem: str) -> Unprocessable:
    """Build the error for one member, named by its JSON pointer."""
    return Unprocessable(f"{pointer or '/'}: {problem}", details={"pointer": pointer})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("the body has an object with the same key twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise Malformed(f"the body is not JSON: {word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Malformed("the body has a number beyond all bounds")
    return number


def _is_deeper_than(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper_than(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper_than(item, levels - 1) for item in value)
    return False


def _unprocessable(text: str) -> Unprocessable:
    at = _PATH_AT.search(text)
    pointer = ""
    if at is not None:
        text = text[: at.start()]
        pointer = "".join(f"/{name or index}" for name, index in _STEP.findall(at["path"]))
    missing = _MISSING.search(text)
    if missing is not None:
        return unprocessable(f"{pointer}/{missing['name']}", "is required")
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        return unprocessable(f"{pointer}/{unknown['name']}", "is not known here")
    return unprocessable(pointer, text[:1].lower() + text[1:])
