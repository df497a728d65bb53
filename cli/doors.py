"""Says which doors of a node are open, or not encrypted; for its log when it starts."""

from __future__ import annotations

from felix.cli.config import Config
from felix.cli.config_checks import is_loopback


def open_doors(config: Config) -> list[str]:
    """Describe each door that lets in more than it would if everything were closed."""
    listen, auth = config.listen, config.auth
    doors = []
    if config.http.enabled and auth.mode == "open":
        doors.append(f"http {listen.http} {_whom(listen.http)}: auth.mode is open, no token needed")
    elif config.http.enabled and auth.open_feeds:
        doors.append(f"http {listen.http} {_whom(listen.http)}: change feeds need no credential")
    if config.http.enabled and config.bootstrap.enabled:
        address = config.bootstrap.bind_addr
        doors.append(
            f"bootstrap {address} {_whom(address)}: switch it off once all tenants have "
            "their administrators"
        )
    if not config.curve.secret_key_file:
        doors += [
            f"{name} {address} {_whom(address)}: without CURVE every caller is trusted"
            for name, address in (
                ("peers", listen.peers),
                ("rpc", listen.rpc),
                ("watch", listen.watch),
            )
        ]
    if not config.tls.cert_file:
        plain = [("metrics", listen.metrics)]
        if config.http.enabled:
            plain.append(("http", listen.http))
            if config.bootstrap.enabled:
                plain.append(("bootstrap", config.bootstrap.bind_addr))
        doors += [
            f"{name} {address} {_whom(address)}: not encrypted, there is no TLS"
            for name, address in plain
            if not is_loopback(address)
        ]
    return doors


def _whom(address: str) -> str:
    return "(this machine)" if is_loopback(address) else "(THE NETWORK)"
