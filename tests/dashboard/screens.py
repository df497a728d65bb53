"""Pictures of what the tests have seen, for people to look at: they stay in `run/screens`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.dashboard.chromium import SIZE, Page

FOLDER: Final = Path(__file__).parents[2] / "run" / "screens"
NARROW: Final = (390, 844)


def keep(page: Page, name: str) -> None:
    """Take pictures in light and dark, wide and narrow; nothing may be wider than the window."""
    for scheme in ("light", "dark"):
        page.prefer(color_scheme=scheme)
        for size in (SIZE, NARROW):
            page.resize(*size)
            assert page.js("document.documentElement.scrollWidth") <= size[0], f"{name} overflows"
            page.screenshot(FOLDER / f"{name}-{scheme}-{size[0]}.png")
    page.resize(*SIZE)
    page.prefer(color_scheme="light")
