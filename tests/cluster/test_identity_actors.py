"""A real node and a real identity provider; and a node without a key-encryption key."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from felix.cli.config import AuthConfig, HttpConfig, KeysConfig
from felix.proto.commands import CreateTenant, NewIssuer, PutIssuer
from felix.proto.control_plane import Call
from felix.proto.errors import IdpUnavailable, NotFound
from felix.proto.identity import IssuerProbe, Jwks
from felix.proto.queries import GetIssuerKeys, ProbeIssuer
from tests.support.cluster import RunningNode, make_configs
from tests.support.idp_server import idp_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

KEK = base64.b64encode(b"k" * 32).decode()
STALE = Call(consistency="stale")


@contextmanager
def alone(*, private_addresses: bool = True) -> Iterator[RunningNode]:
    """Run a cluster of one node, without HTTP."""
    folder = Path(tempfile.mkdtemp(prefix="felix-test-"))
    (config,) = make_configs(folder, 1)
    node = RunningNode(
        msgspec.structs.replace(
            config,
            http=HttpConfig(enabled=False),
            auth=AuthConfig(mode="open", idp_private_addresses=private_addresses),
            keys=KeysConfig(kek=KEK),
        ),
        folder / config.name,
    )
    try:
        node.start()
        eventually(node.is_ready, 30)
        yield node
    except BaseException:
        print(node.tail_of_log())
        raise
    finally:
        node.kill()
        shutil.rmtree(folder)


def test_a_node_probes_a_provider_and_counts_what_it_fetched() -> None:
    with idp_server() as idp, alone() as node:
        said = node.ask(ProbeIssuer(issuer=idp.issuer), STALE).result
        assert isinstance(said, IssuerProbe)
        assert (said.found_issuer, said.keys, said.problem) == (idp.issuer, 1, "")
        metrics = node.metrics()
        assert metrics['felix_idp_fetches_total{result="ok"}'] == 2
        assert metrics["felix_idp_cache_urls"] == 0
        assert metrics["felix_keys_unsealable"] == 0


def test_s9_without_the_switch_loopback_is_not_fetched_from() -> None:
    with idp_server() as idp, alone(private_addresses=False) as node:
        said = node.ask(ProbeIssuer(issuer=idp.issuer), STALE).result
        assert isinstance(said, IssuerProbe)
        assert "https" in said.problem
        assert idp.requests == []


def test_the_keys_of_a_trusted_issuer_outlive_the_provider_and_a_key_signs_for_the_tenant() -> None:
    with idp_server() as idp, alone() as node:
        node.ask(CreateTenant(tenant_id="acme"))
        query = GetIssuerKeys(tenant_id="acme", issuer=idp.issuer)
        with pytest.raises(NotFound):
            node.ask(query, STALE)
        issuer = NewIssuer(issuer=idp.issuer, audiences=("felix",))
        node.ask(PutIssuer(tenant_id="acme", issuer=issuer))
        found = node.ask(query, STALE).result
        assert isinstance(found, Jwks)
        assert idp.kid().encode() in found.document
        idp.go_down()
        again = node.ask(query, STALE).result
        assert isinstance(again, Jwks)
        assert again.document == found.document
        eventually(lambda: node.metrics()['felix_signing_keys{state="active"}'] == 1)
        status = node.status()
        assert status is not None
        assert status.alarms == []


def test_a_provider_that_is_away_is_unavailable() -> None:
    with idp_server() as idp, alone() as node:
        idp.go_down()
        node.ask(CreateTenant(tenant_id="acme"))
        issuer = NewIssuer(issuer=idp.issuer, audiences=("felix",))
        node.ask(PutIssuer(tenant_id="acme", issuer=issuer))
        with pytest.raises(IdpUnavailable):
            node.ask(GetIssuerKeys(tenant_id="acme", issuer=idp.issuer), STALE)
