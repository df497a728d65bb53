"""Why something was not done."""

from __future__ import annotations


class Refused(Exception):
    """It is not possible, or not safe without another word; nothing was changed."""
