"""`make test` fails if either half of the tests does, and says what both have said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tests.__main__

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def ending(status: int) -> tuple[str, ...]:
    return sys.executable, "-c", f"print('ends with', {status}); raise SystemExit({status})"


@pytest.mark.parametrize(
    ("in_front", "beside", "status"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (2, 3, 1), (0, -9, 1)]
)
def test_all_is_well_only_if_both_halves_are(
    capfdbinary: pytest.CaptureFixture[bytes], in_front: int, beside: int, status: int
) -> None:
    assert tests.__main__.run_both(ending(in_front), ending(beside)) == status
    said = capfdbinary.readouterr().out.decode().splitlines()
    assert said == [f"ends with {in_front}", f"ends with {beside}"]


def test_the_halves_are_all_tests_and_none_twice() -> None:
    def collected(command: tuple[str, ...]) -> list[str]:
        of_house = (*command, "--collect-only", "-q", "-p", "no:cacheprovider", "tests/tidy")
        done = subprocess.run(of_house, cwd=ROOT, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if "::" in line]

    slow, pure = collected(tests.__main__.SLOW), collected(tests.__main__.PURE)
    assert slow
    assert pure
    assert sorted(slow + pure) == sorted(collected((sys.executable, "-m", "pytest")))
