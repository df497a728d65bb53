"""The dashboard by keyboard, by ear, and for eyes that need contrast or no motion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.dashboard.chromium import Page, Scheme
from tests.http.helpers import placed_client
from tests.support.http_server import serving
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FOCUSED: Final = "document.activeElement"
VIEWS: Final = ("cluster", "brokers", "streams", "moves", "changes")
CONTROLS: Final = {"link", "button", "textbox", "searchbox", "combobox", "img", "table", "region"}
CONTRAST: Final = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest('.unseen, :disabled, option')) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.className} ${e.textContent}: ${ratio}`);
  }
  return found;
})()
"""
"""What is harder to read than WCAG 2.2 allows (1.4.3, level AA)."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    _, plane = placed_client("broker-1", "broker-2", "broker-3")
    with serving(plane) as found:
        yield f"http://{found}/ui/"


def opened(page: Page, address: str, view: str) -> None:
    page.go(f"{address}#/{view}")
    page.shows(view.title(), "h1")
    eventually(lambda: page.js("document.querySelectorAll('main table').length > 0"), 30)


def named(nodes: list[dict[str, Any]], role: str) -> list[str]:
    return [one["name"] for one in nodes if one["role"] == role]


@pytest.mark.parametrize("view", VIEWS)
def test_a_screen_reader_finds_its_way_and_every_thing_has_a_name(
    page: Page, address: str, view: str
) -> None:
    opened(page, address, view)
    nodes = page.accessible()
    roles = [one["role"] for one in nodes]
    for landmark in ("banner", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    assert "Views" in named(nodes, "navigation")
    headings = [one for one in nodes if one["role"] == "heading"]
    assert [one["name"] for one in headings if one["level"] == 1] == [view.title()]
    assert all(one["name"] for one in nodes if one["role"] in CONTROLS - {"img"})
    assert page.js("[...document.images].every((one) => one.hasAttribute('alt'))")
    captions = "[...document.querySelectorAll('table')].every((one) => one.caption?.innerText)"
    assert page.js(captions)
    assert page.js("document.querySelectorAll('thead th:not([scope=col])').length") == 0
    assert page.js("document.title").startswith(view.title())
    ids = page.js("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(page: Page, address: str) -> None:
    opened(page, address, "streams")
    page.press("Tab")
    assert page.js("document.activeElement.className") == "skip"
    assert page.js("document.activeElement.getBoundingClientRect().top") >= 0
    page.press("Enter")
    assert page.js("document.activeElement.id") == "main"
    seen = set()
    for _ in range(40):
        page.press("Tab")
        about = page.js(f"(({{tagName, id, innerText}}) => [tagName, id, innerText])({FOCUSED})")
        if about[0] == "BODY":
            break
        seen.add(tuple(about))
        outline = page.js(f"getComputedStyle({FOCUSED}).outline")
        assert "solid 3px" in outline, f"one does not see the focus on {about}"
    assert {"name", "broker", "zone", "state"} <= {one[1] for one in seen}
    assert ("BUTTON", "", "acme/billing/invoices") in seen


def test_a_stream_is_opened_and_closed_by_keyboard_and_the_focus_comes_back(
    page: Page, address: str
) -> None:
    opened(page, address, "streams")
    page.js("document.querySelector('[data-do=open]').focus()")
    page.press("Enter")
    page.shows("Other copies", "#detail")
    assert page.js("document.querySelector('#detail').contains(document.activeElement)")
    page.press("Escape")
    eventually(lambda: not page.js("document.querySelector('#detail').open"))
    assert page.js("document.activeElement.dataset.do") == "open"


def test_a_page_that_renews_itself_takes_nothing_away_from_its_reader(
    page: Page, address: str
) -> None:
    opened(page, address, "brokers")
    page.shows("broker-2", "main table")
    page.js("document.querySelector('main tbody a').focus()")
    page.js("window.row = document.querySelector('main tbody tr')")
    page.js("getSelection().selectAllChildren(row.lastChild)")
    asked = len(page.requests)
    eventually(lambda: len([one for one in page.requests[asked:] if "/v1/brokers" in one]) >= 2, 30)
    assert page.js("document.activeElement.innerText") == "broker-1"
    assert page.js("document.querySelector('main tbody tr') === row")
    assert "broker-1.example.test" in page.js("getSelection().toString()")


def test_another_view_is_announced_by_its_title_and_takes_the_focus(
    page: Page, address: str
) -> None:
    opened(page, address, "cluster")
    page.click("text=Moves")
    page.shows("Moves", "h1")
    assert page.js("document.activeElement.id") == "main"
    assert page.js("document.querySelector('#nav [aria-current=page]').innerText") == "Moves"
    status = "document.querySelector('#announcer')"
    assert page.js(f"[{status}.role, {status}.ariaLive]") == ["status", "polite"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Page, address: str, scheme: Scheme) -> None:
    page.prefer(color_scheme=scheme)
    for view in VIEWS:
        opened(page, address, view)
        assert page.js(CONTRAST) == [], view


def test_nothing_moves_for_who_wants_no_motion(page: Page, address: str) -> None:
    page.prefer(reduced_motion="reduce")
    opened(page, address, "streams")
    assert page.js("document.getAnimations().length") == 0
    durations = (
        "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    )
    assert set(page.js(durations)) == {"0s"}


def test_markup_in_names_stays_text(page: Page) -> None:
    client, plane = placed_client("broker-1")
    evil = "<img src=x onerror=alert(1)>"
    assert client.patch("/v1/tenants/acme", {"display_name": evil}).status_code == 200
    with serving(plane) as found:
        opened(page, f"http://{found}/ui/", "changes")
        page.shows(evil, "main table")
        assert page.js("document.querySelectorAll('main img').length") == 0


def test_a_script_that_got_in_could_neither_run_nor_make_markup(page: Page, address: str) -> None:
    opened(page, address, "cluster")
    attempt = (
        "(() => { const s = document.createElement('script'); s.append('window.isIn = 1');"
        " document.body.append(s); return window.isIn ?? 0; })()"
    )
    stopped = "(() => { try { document.body.innerHTML = '<p>'; return 0; } catch { return 1; } })()"
    assert page.js(stopped) == 1
    page.js(f"(() => {{ try {{ return {attempt}; }} catch {{ return 0; }} }})()")
    assert page.js("window.isIn ?? 0") == 0
    page.js("fetch('http://127.0.0.1:9/').catch(() => 0)")
    eventually(lambda: len(page.complaints) >= 2)
    assert all(
        "Content Security Policy" in one or "TrustedHTML" in one or "TrustedScript" in one
        for one in page.complaints
    )
    page.complaints.clear()
