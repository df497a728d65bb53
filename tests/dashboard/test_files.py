"""What the node serves under `/ui/`, without a browser."""

from __future__ import annotations

import re
from typing import Final

import pytest

from felix.http.dashboard import FOLDER, MEDIA_TYPES
from tests.http.helpers import empty_client, refused

FILES: Final = sorted(path.name for path in FOLDER.iterdir())


def test_every_file_of_the_folder_is_served_as_what_it_is() -> None:
    client = empty_client()
    for name in FILES:
        answer = client.get(f"/ui/{name}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == MEDIA_TYPES["." + name.rpartition(".")[2]]
        assert answer.content == (FOLDER / name).read_bytes()


def test_the_page_is_at_ui_with_and_without_a_slash() -> None:
    client = empty_client()
    redirect = client.get("/ui")
    assert (redirect.status_code, redirect.headers["Location"]) == (303, "/ui/")
    assert client.get("/ui/").content == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", ["", *FILES])
def test_nothing_but_what_this_node_serves_may_be_loaded_or_run(name: str) -> None:
    headers = empty_client().get(f"/ui/{name}").headers
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert {policy[one] for one in ("frame-ancestors", "form-action", "base-uri")} == {"'none'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_browser_that_has_a_file_is_told_so_and_asks_again_next_time() -> None:
    client = empty_client()
    first = client.get("/ui/main.js")
    again = client.request("GET", "/ui/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"
    other = client.request("GET", "/ui/main.js", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "..%2Fapp.py", "%2e%2e/app.py", "a/b"])
def test_what_is_no_file_of_the_dashboard_is_not_found(path: str) -> None:
    assert refused(empty_client().get(f"/ui/{path}")) == (404, "not_found")


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_carries_script_or_style_inline(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "://" not in text
    if name.endswith(".html"):
        assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_every_file_is_used_and_every_one_used_is_there() -> None:
    used = {"index.html"}
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:from |src=|href=)"(?:\./)?([\w-]+\.\w+)"', text))
    assert used == set(FILES)
