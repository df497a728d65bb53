"""What is wrong with a configuration whose types are right: rules about the whole of it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from pathlib import Path
from typing import Final

from felix.cli.config import LISTENERS, Config
from felix.http.signing_keys import JWKS_MAX_AGE_S
from felix.http.tls import BadCertificate, load_context
from felix.proto.addresses import is_address

KEK_BYTES: Final = 32
TOKEN_CHARS_MIN: Final = 16
_TOKEN: Final = re.compile(rf"[!-~]{{{TOKEN_CHARS_MIN},}}", re.ASCII)
_WHAT_A_TOKEN_IS: Final = (
    f"a token has at least {TOKEN_CHARS_MIN} printable ASCII characters and no blanks"
)
_CLOCK_SKEW_S: Final = 60
"""Brokers take a token for so long after its end."""
_BROKERS_KEEP_JWKS_S: Final = 3_600
"""They do not look again before, not even for a key that they do not know (contract, 11.5)."""
_MAKE_KEK: Final = "make one: felix-controlplane keygen kek --out FILE"
_OR_INSECURE: Final = "or say `insecure: true`"


def problems_of(config: Config) -> list[str]:
    """List what is wrong, without looking at any file."""
    return [
        *_timing_problems(config),
        *_thread_problems(config),
        *_member_problems(config),
        *_listen_problems(config),
        *_exposure_problems(config),
        *_bootstrap_problems(config),
        *_pair_problems(config),
    ]


def serving_problems_of(config: Config) -> list[str]:
    """List what keeps a node from running, in files with secrets and certificates above all."""
    return [*_kek_problems(config), *_token_problems(config), *_certificate_problems(config)]


def bootstrap_tokens(config: Config) -> tuple[str, ...]:
    """Read the token for bootstrap, and the previous one if there is one. Raises: OSError."""
    section = config.bootstrap
    found = (
        section.token or _text(section.token_file),
        section.previous_token or _text(section.previous_token_file),
    )
    return tuple(token for token in found if token)


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches an address (`host:port`)."""
    host = address.rpartition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip() if path else ""


def _timing_problems(config: Config) -> list[str]:
    raft = config.raft
    problems = []
    if raft.heartbeat_ms < 10:
        problems.append("raft.heartbeat_ms: below 10 ms the network would be all heartbeats")
    if raft.election_min_ms < 4 * raft.heartbeat_ms:
        problems.append("raft.election_min_ms: at least 4 heartbeats, or a hiccup deposes leaders")
    if raft.election_max_ms < 1.5 * raft.election_min_ms:
        problems.append("raft.election_max_ms: at least 1.5 times the shortest, or votes split")
    return problems + _key_time_problems(config)


def _key_time_problems(config: Config) -> list[str]:
    """Find times that would leave somebody with a token and nobody with the key that proves it."""
    auth, keys = config.auth, config.keys
    problems = []
    last_s = max(auth.identity_age_max_s, _CLOCK_SKEW_S)
    least_s = auth.token_lifetime_s + last_s
    if keys.retire_after_s < least_s:
        last = "auth.identity_age_max_s" if last_s > _CLOCK_SKEW_S else f"{_CLOCK_SKEW_S} s of skew"
        problems.append(
            f"keys.retire_after_s: at least {least_s} (auth.token_lifetime_s and {last}): a node "
            "may sign so long with a key that it has not heard is retired, and its tokens would "
            "outlive the key that proves them"
        )
    seen_s = _BROKERS_KEEP_JWKS_S + JWKS_MAX_AGE_S
    if keys.publish_lead_s < seen_s and not config.insecure:
        problems.append(
            f"keys.publish_lead_s: at least {seen_s}: brokers keep a key set for "
            f"{_BROKERS_KEEP_JWKS_S} s, and caches on the way for {JWKS_MAX_AGE_S} s, and would "
            f"refuse the tokens of a key that they have not seen; for a trial, {_OR_INSECURE[3:]}"
        )
    return problems


def _thread_problems(config: Config) -> list[str]:
    http = config.http
    if http.broker_waiters_max < http.threads:
        return []
    return [
        f"http.broker_waiters_max: below http.threads ({http.threads}), of which each that waits "
        "holds one: others could not be answered meanwhile"
    ]


def _member_problems(config: Config) -> list[str]:
    members = config.cluster.members
    names = [one.name for one in members]
    problems = []
    if config.cluster.bootstrap == "new" and len(members) not in {1, 3, 5}:
        problems.append(f"cluster.members: 1, 3 or 5 members found a cluster, not {len(members)}")
    if len(set(names)) != len(names):
        problems.append("cluster.members: two members have the same name")
    for listener in ("peers", "rpc"):
        addresses = [getattr(one, listener) for one in members]
        if len(set(addresses)) != len(addresses):
            problems.append(f"cluster.members: two members have the same {listener} address")
    problems += [
        f"cluster.members: {one.name}: {listener}: {getattr(one, listener)!r} is not host:port"
        for one in members
        for listener in LISTENERS
        if not is_address(getattr(one, listener))
    ]
    if config.name not in names:
        problems.append(f"name: {config.name!r} is not among cluster.members ({', '.join(names)})")
    return problems


def _listen_problems(config: Config) -> list[str]:
    places = {f"listen.{name}": getattr(config.listen, name) for name in LISTENERS}
    places["bootstrap.bind_addr"] = config.bootstrap.bind_addr
    return [
        f"{key}: {address!r} is not host:port"
        for key, address in places.items()
        if not is_address(address)
    ]


def _exposure_problems(config: Config) -> list[str]:
    """Find listeners that other machines can reach and that would not be protected."""
    if config.insecure:
        return []
    listen = config.listen
    problems = []
    tls = {"listen.http": listen.http, "listen.metrics": listen.metrics}
    if config.bootstrap.enabled:
        tls["bootstrap.bind_addr"] = config.bootstrap.bind_addr
    if not config.tls.cert_file:
        problems += [
            f"{key}: {address!r} can be reached from other machines: give tls.cert_file and "
            f"tls.key_file, bind a loopback address, {_OR_INSECURE}"
            for key, address in tls.items()
            if _is_exposed(address)
        ]
    if not config.curve.secret_key_file:
        curve = {f"listen.{name}": getattr(listen, name) for name in ("peers", "rpc", "watch")}
        for member in config.cluster.members:
            for name in ("peers", "rpc", "watch"):
                curve[f"cluster.members: {member.name}: {name}"] = getattr(member, name)
        problems += [
            f"{key}: {address!r} can be reached from other machines: give curve.secret_key_file "
            f"and curve.allow_list_file, use a loopback address, {_OR_INSECURE}"
            for key, address in curve.items()
            if _is_exposed(address)
        ]
    if config.auth.mode == "open" and _is_exposed(listen.http):
        problems.append(
            f"auth.mode: open, and listen.http {listen.http!r} can be reached from other machines: "
            f"say required, bind a loopback address, {_OR_INSECURE}"
        )
    return problems


def _is_exposed(address: str) -> bool:
    return is_address(address) and not is_loopback(address)


def _bootstrap_problems(config: Config) -> list[str]:
    section = config.bootstrap
    problems = [
        f"bootstrap.{name}: give it or bootstrap.{name}_file, not both"
        for name in ("token", "previous_token")
        if getattr(section, name) and getattr(section, f"{name}_file")
    ]
    problems += [
        f"bootstrap.{name}: {_WHAT_A_TOKEN_IS}"
        for name in ("token", "previous_token")
        if getattr(section, name) and not _TOKEN.fullmatch(getattr(section, name))
    ]
    if section.enabled and not section.token and not section.token_file:
        problems.append("bootstrap.enabled: needs bootstrap.token or bootstrap.token_file")
    if section.enabled and not config.http.enabled:
        problems.append("bootstrap.enabled: http.enabled is false, and nothing else serves it")
    return problems


def _pair_problems(config: Config) -> list[str]:
    pairs = {
        "tls": (("cert_file", config.tls.cert_file), ("key_file", config.tls.key_file)),
        "curve": (
            ("secret_key_file", config.curve.secret_key_file),
            ("allow_list_file", config.curve.allow_list_file),
        ),
    }
    problems = [
        f"{section}: {first} and {second} belong together, give both or none"
        for section, ((first, one), (second, other)) in pairs.items()
        if bool(one) != bool(other)
    ]
    if config.keys.kek and config.keys.kek_file:
        problems.append("keys: give keys.kek or keys.kek_file, not both")
    return problems


def _kek_problems(config: Config) -> list[str]:
    keys = config.keys
    if not keys.kek and not keys.kek_file:
        return [
            "keys.kek_file: a key-encryption key is needed, the same on every node; " + _MAKE_KEK
        ]
    problems = []
    if keys.kek and not _is_kek(keys.kek):
        problems.append(f"keys.kek: not {KEK_BYTES} bytes in base64; {_MAKE_KEK}")
    for key, path in [
        ("keys.kek_file", keys.kek_file),
        *(("keys.previous_kek_files", path) for path in keys.previous_kek_files),
    ]:
        try:
            if path and not _is_kek(_text(path)):
                problems.append(f"{key}: {path}: not {KEK_BYTES} bytes in base64; {_MAKE_KEK}")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{key}: {path}: {_why(error)}")
    return problems


def _is_kek(text: str) -> bool:
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == KEK_BYTES
    except (binascii.Error, ValueError):
        return False


def _token_problems(config: Config) -> list[str]:
    section = config.bootstrap
    problems = []
    if not section.enabled:
        return []
    for name in ("token_file", "previous_token_file"):
        path = getattr(section, name)
        try:
            if path and not _TOKEN.fullmatch(_text(path)):
                problems.append(f"bootstrap.{name}: {path}: {_WHAT_A_TOKEN_IS}")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"bootstrap.{name}: {path}: {_why(error)}")
    return problems


def _certificate_problems(config: Config) -> list[str]:
    if not config.tls.cert_file or not config.tls.key_file:
        return []
    try:
        load_context(config.tls.cert_file, config.tls.key_file)
    except BadCertificate as error:
        return [f"tls: {error}"]
    return []


def _why(error: OSError | UnicodeDecodeError) -> str:
    """Say why a file cannot be read, without a word of what it holds."""
    return str(error.strerror) if isinstance(error, OSError) else "not text"
