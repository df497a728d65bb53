"""Keeps secrets out of what leaves the house: those that are known, and what looks like one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from felix.cli.config import Config

REDACTED: Final = "[redacted]"
LEAST_CHARACTERS: Final = 8
"""Shorter than this nothing is taken for a secret by its value: it would stand everywhere."""
LEAST_WORD: Final = 16
"""The same for one word of several in a file."""

_NAMES: Final = (
    "token|password|passwd|secret|kek|authorization|api_?key|refresh_token|felix_token|"
    "access_token|id_token|client_secret|private_key|secret_key|previous_token|session|cookie"
)
PATTERNS: Final[dict[str, re.Pattern[str]]] = {
    "private key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}"),
    "credential in a header": re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/-]{6,}=*"),
    "password in a URL": re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"),
    "32 bytes in base64": re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{43}=(?!=)"),
    "value of a secret's name": re.compile(
        rf"(?i)(?<![A-Za-z0-9_])(?P<name>[\"']?(?:x-[a-z-]+-token|{_NAMES})[\"']?\s*[:=]\s*)"
        r"(?!<hidden>|null\b|\"\"|''|\[redacted)"
        r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,;}\]\"']+)"
    ),
}
"""By what is found."""


class Redactor:
    """Takes secrets out of texts, and counts what it took."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known` secrets are taken out wherever they stand, whole or as lines of a file."""
        found = {one for one in known if len(one) >= LEAST_CHARACTERS}
        self._known = sorted(found, key=len, reverse=True)

    def clean(self, data: bytes) -> tuple[bytes, dict[str, int]]:
        """Give a text without secrets, and how many of which kind there were."""
        text = data.decode("utf-8", "replace")
        counts: Counter[str] = Counter()
        for secret in self._known:
            counts["known secret"] += text.count(secret)
            text = text.replace(secret, REDACTED)
        for kind, pattern in PATTERNS.items():
            text, times = pattern.subn(_replacement, text)
            counts[kind] += times
        return text.encode(), {kind: count for kind, count in counts.items() if count}


def _replacement(match: re.Match[str]) -> str:
    """Keep the name before a value, and the quotes around it."""
    groups = match.groupdict()
    if "value" not in groups:
        return REDACTED
    quote = groups["value"][0] if groups["value"][0] in "\"'" else ""
    return f"{groups['name']}{quote}{REDACTED}{quote}"


def secrets_of(config: Config) -> Iterator[str]:
    """Give the secrets that a configuration holds or names files of, as far as we may read them."""
    yield from (config.keys.kek, config.bootstrap.token, config.bootstrap.previous_token)
    files = (
        config.keys.kek_file,
        *config.keys.previous_kek_files,
        config.bootstrap.token_file,
        config.bootstrap.previous_token_file,
        config.curve.secret_key_file,
        config.tls.key_file,
    )
    for path in filter(None, files):
        yield from _lines_of(Path(path))


def _lines_of(path: Path) -> Iterator[str]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return  # what we cannot read we cannot have put anywhere either
    for line in text.splitlines():
        if not line.startswith(("#", "-----")):
            yield line.strip()
            yield from (word for word in line.split() if len(word) >= LEAST_WORD)
