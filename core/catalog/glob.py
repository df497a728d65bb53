"""Name filters, in time that grows with the product of the lengths at worst."""

from __future__ import annotations


def matches(pattern: str, name: str) -> bool:
    """Match a whole name where the pattern has `*` or `?`; else look for it inside the name."""
    if "*" not in pattern and "?" not in pattern:
        return pattern in name
    at_pattern = at_name = 0
    star, tried = -1, 0
    while at_name < len(name):
        if at_pattern < len(pattern) and pattern[at_pattern] == "*":
            star, tried = at_pattern, at_name
            at_pattern += 1
        elif at_pattern < len(pattern) and pattern[at_pattern] in {"?", name[at_name]}:
            at_pattern += 1
            at_name += 1
        elif star >= 0:  # let the last star take one character more
            tried += 1
            at_pattern, at_name = star + 1, tried
        else:
            return False
    return all(character == "*" for character in pattern[at_pattern:])
