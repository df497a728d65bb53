"""Name filters whose time grows with the product of the two lengths at worst."""

from __future__ import annotations

import re
from collections.abc import Callable


def matcher(pattern: str) -> Callable[[str], bool]:
    """Match whole names if the pattern has `*` or `?`; otherwise look for it inside them.

    What lies between two stars goes into an atomic group: its first place is as good as any later
    one, so the regular expression never has a reason to come back to it.
    """
    if "*" not in pattern and "?" not in pattern:
        return lambda name: pattern in name
    first, *rest = [_literally(piece) for piece in pattern.split("*")]
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*{rest[-1]}" if rest else ""
    whole = re.compile(f"{first}{middle}{last}", re.DOTALL)
    return lambda name: whole.fullmatch(name) is not None


def _literally(piece: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in piece)
