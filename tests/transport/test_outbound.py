"""Fetching from the outside: only where it is allowed, only so much, only so long (S9, case 24)."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Sequence

import pytest

from felix.transport.outbound import FetchFailed, Outbound, check_url
from tests.support.idp_server import Mood, idp_server

pytestmark = pytest.mark.slow


_outbound = functools.partial(Outbound, private_addresses=True)


def _reason(outbound: Outbound, url: str) -> str:
    with pytest.raises(FetchFailed) as caught:
        outbound.get_json(url)
    return caught.value.reason


def test_a_document_comes_as_it_was_sent() -> None:
    with idp_server() as idp:
        body = _outbound().get_json(idp.jwks_url)
        assert b'"keys"' in body
        assert idp.requests == ["/keys"]
        assert idp.request_headers[0]["Accept-Encoding"] == "identity"
        assert idp.request_headers[0]["Host"] == f"127.0.0.1:{idp.port}"


def test_over_tls_the_certificate_is_held_against_the_name() -> None:
    with idp_server(tls=True, host="localhost") as idp:
        assert _outbound(ca_file=idp.ca_file).get_json(idp.jwks_url)
        assert _reason(_outbound(), idp.jwks_url) == "untrusted"
        other = Outbound(
            private_addresses=True, ca_file=idp.ca_file, lookup=lambda *_: ["127.0.0.1"]
        )
        assert _reason(other, f"https://idp.example.test:{idp.port}/keys") == "untrusted"
        assert idp.requests == ["/keys"]


@pytest.mark.parametrize("tls", [False, True])
def test_an_address_of_ipv6_is_asked_as_well(tls: bool) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with idp_server(tls=tls, host="::1") as idp:
        outbound = _outbound(ca_file=idp.ca_file if tls else None)
        assert outbound.get_json(idp.jwks_url)
        assert idp.request_headers[0]["Host"] == f"[::1]:{idp.port}"


def test_a_deadline_that_has_passed_leaves_no_time_to_connect() -> None:
    with idp_server() as idp:
        with pytest.raises(FetchFailed) as caught:
            _outbound().get_json(idp.jwks_url, time.monotonic())
        assert caught.value.reason == "timeout"
        assert idp.requests == []


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("redirecting", "redirect"),
        ("huge", "too_large"),
        ("huge_unannounced", "too_large"),
        ("compressed", "encoded"),
        ("failing", "bad_status"),
        ("not_json", "not_json"),
        ("a_list", "not_json"),
        ("deep", "not_json"),
        ("garbage", "unreachable"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_refused(mood: Mood, reason: str) -> None:
    with idp_server() as idp:
        idp.mood = mood
        assert _reason(_outbound(), idp.jwks_url) == reason
        assert len(idp.requests) == 1


@pytest.mark.parametrize("mood", ["silent", "dripping", "dripping_headers"])
def test_a_fetch_ends_in_time_however_slowly_bytes_drip(mood: Mood) -> None:
    with idp_server() as idp:
        idp.mood = mood
        began = time.monotonic()
        assert _reason(_outbound(total_s=0.5), idp.jwks_url) == "timeout"
        assert time.monotonic() - began < 3


def test_a_fetch_ends_in_time_in_the_middle_of_a_tls_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"\x16\x03\x03\x3f\xff")  # a record of 16 kB begins
                while not ended.wait(0.05):
                    try:
                        sock.sendall(b"\x00")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/keys"
        assert _reason(_outbound(total_s=0.5), url) == "timeout"
        assert time.monotonic() - began < 3
        ended.set()
        thread.join()


def test_a_look_up_that_hangs_holds_nobody_up() -> None:
    ended = threading.Event()

    def hang(_host: str, _port: int) -> Sequence[str]:
        ended.wait(10)
        return ["127.0.0.1"]

    outbound = _outbound(connect_s=0.05, lookup=hang)
    reasons = [_reason(outbound, "https://idp.example.test/") for _ in range(17)]
    assert reasons == ["timeout"] * 16 + ["busy"]
    ended.set()


def test_nobody_there_is_unreachable() -> None:
    with idp_server() as idp:
        idp.go_down()
        assert _reason(_outbound(), idp.jwks_url) == "unreachable"


def test_a_name_that_changes_its_mind_is_asked_once_and_believed_once() -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    asked = []

    def rebind(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    with idp_server() as idp:
        outbound = Outbound(private_addresses=False, lookup=rebind, connect_s=0.2)
        url = f"https://rebind.example.test:{idp.port}/keys"
        assert _reason(outbound, url) in {"timeout", "unreachable"}  # no way to that address
        assert asked == ["rebind.example.test"]
        assert _reason(outbound, url) == "forbidden_address"
        assert idp.requests == []


ALWAYS_REFUSED = [
    "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1",
    "fe80::1", "fe80::1%lo", "fec0::1", "::ffff:127.0.0.1", "::ffff:93.184.216.34",
    "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
]  # fmt: skip
PRIVATE = ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
           "fd00:ec2::254", "198.18.0.1", "192.0.2.1"]  # fmt: skip


@pytest.mark.parametrize("address", ALWAYS_REFUSED + PRIVATE)
def test_an_address_that_is_not_public_is_refused_as_literal_and_behind_a_name(
    address: str,
) -> None:
    outbound = Outbound(private_addresses=False, lookup=lambda *_: [address])
    assert _reason(outbound, "https://idp.example.test/") == "forbidden_address"
    if "%" not in address:
        literal = f"[{address}]" if ":" in address else address
        assert _reason(outbound, f"https://{literal}/") == "forbidden_address"


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_link_local_and_disguised_addresses_are_refused_even_where_private_ones_are_not(
    address: str,
) -> None:
    outbound = Outbound(private_addresses=True, lookup=lambda *_: [address])
    assert _reason(outbound, "https://idp.example.test/") == "forbidden_address"


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_by_the_switch(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    assert check_url(f"https://{literal}/keys", private_addresses=True)


def test_http_is_for_loopback_and_for_nobody_else() -> None:
    assert _reason(Outbound(private_addresses=False), "http://127.0.0.1:1/") == "insecure"
    for address in ("10.0.0.1", "93.184.216.34"):
        outbound = Outbound(private_addresses=True, lookup=lambda *_, one=address: [one])
        assert _reason(outbound, "http://idp.example.test/") == "forbidden_address"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://idp.example.test/",
        "gopher://127.0.0.1:11211/",
        "//idp.example.test/",
        "idp.example.test",
        "",
        "https://",
        "https:///keys",
        "https://user@idp.example.test/",
        "https://user:secret@idp.example.test/",
        "https://idp.example.test/#there",
        "https://idp.example.test:99999/",
        "https://idp.example.test/a b",
        "https://idp.example.test\\@127.0.0.1/",
        "https://idp.example.test/\r\nX: y",
        "https://idp\u3002example.test/",
        "https://idp.example.test/" + "a" * 2048,
    ],
)
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    assert _reason(Outbound(private_addresses=False), url) == "bad_url"


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
def test_other_spellings_of_loopback_are_refused(host: str) -> None:
    outbound = Outbound(private_addresses=False)
    assert _reason(outbound, f"https://{host}/") in {"forbidden_address", "unresolved"}


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with idp_server() as idp:
        assert _outbound().get_json(idp.jwks_url)


def test_a_document_of_a_size_that_is_just_too_large_is_refused() -> None:
    with idp_server() as idp:
        idp.discovery = {"x": "y" * (200 * 1024)}
        assert _outbound().get_json(idp.discovery_url)
        idp.discovery = {"x": "y" * (256 * 1024)}
        assert _reason(_outbound(), idp.discovery_url) == "too_large"
