"""`docs/metrics.md` says what the tables of metrics say, and the tables keep our rules."""

from __future__ import annotations

import re

from tests.metrics.exposition import FAMILIES, UNBOUNDED
from tests.metrics.metrics_page import PATH, SHOWN, page

NOT_METRICS = {"felix_token"}


def test_the_page_is_what_the_tables_make_of_it() -> None:
    assert PATH.read_text(encoding="utf-8") == page(), "run python -m tests.metrics.metrics_page"


def test_every_metric_that_a_page_names_is_there() -> None:
    for page_file in (*PATH.parent.glob("**/*.md"), PATH.parents[1] / "README.md"):
        text = page_file.read_text(encoding="utf-8")
        for name in re.findall(r"`(felix_[a-z0-9_]+)[`{]", text):
            stem = re.sub(r"_(bucket|count|sum)$", "", name)
            assert {name, stem} & (set(FAMILIES) | NOT_METRICS), f"{page_file.name}: {name}"


def test_no_metric_is_there_twice_and_none_has_a_label_without_bounds() -> None:
    names = [one.name for section in SHOWN for one in section.families]
    assert len(names) == len(set(names))
    for family in FAMILIES.values():
        assert not UNBOUNDED & set(family.labels), family.name


def test_a_counter_ends_in_total_and_every_help_is_a_sentence() -> None:
    for family in FAMILIES.values():
        assert (family.kind != "counter") or family.name.endswith("_total"), family.name
        assert family.help[0].isupper() or family.help[0].isdigit(), family.name
        assert family.help.endswith("."), family.name
