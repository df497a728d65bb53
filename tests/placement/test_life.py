"""Whatever happens to brokers, streams and plans, no rule of placement breaks, and all ends well.

`FELIX_LIVES` sets how many lives are lived, `FELIX_FIRST_LIFE` with which seed they begin.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from tests.placement.life import Life

LIVES = int(os.environ.get("FELIX_LIVES", "100"))
EVENTS = 150
LIVES_FOR_FULL_COVERAGE = 80


def live(seed: int) -> Life:
    life = Life(seed)
    for _ in range(life.chance.randrange(1, 5)):
        life.join()
    for _ in range(EVENTS):
        life.happen()
        life.report()
        life.turn()
    life.settle()
    life.check_rest()
    return life


@pytest.mark.timeout(0)
def test_the_rules_hold_through_every_life_and_all_comes_to_rest() -> None:
    drawn = str(random.SystemRandom().randrange(1 << 32))
    first = int(os.environ.get("FELIX_FIRST_LIFE", drawn))
    print(f"seeds {first}..{first + LIVES}")
    came: Counter[str] = Counter()
    for seed in range(first, first + LIVES):
        print(f"to see the last one again: FELIX_LIVES=1 FELIX_FIRST_LIFE={seed}")
        came += live(seed).came
    print(sorted(came.items()))
    if LIVES < LIVES_FOR_FULL_COVERAGE:
        return
    for reason in ("drain", "operator", "replace", "restore"):
        assert came[f"{reason} replica done"], (reason, came)
    for name in ("operator leader done", "drain leader done", "operator replica cancelled"):
        assert came[name], (name, came)
    for name in ("operator replica failed", "PurgeStream", "UndeleteStream", "rests drained"):
        assert came[name], (name, came)
