"""The cluster itself: who takes part, who leads, and how an operator changes either."""

from __future__ import annotations

import re
from typing import Final

import falcon
import msgspec

from felix.http.bodies import AddressesBody, NewFeatureLevel, NewMember, Transfer
from felix.http.cluster_views import (
    ClusterView,
    FeatureLevelView,
    MemberPage,
    MemberView,
    cluster_view,
)
from felix.http.desk import Desk, answer
from felix.proto.addresses import wrong_listener
from felix.proto.cluster import AddMember, AnyOperation, RemoveMember, TransferLeadership
from felix.proto.commands import FeatureLevel, SetFeatureLevel
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.names import why_not_a_name
from felix.proto.queries import ClusterStatus, GetCluster
from felix.proto.raft import Addresses

_IDENTITY: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Cluster:
    """/v1/cluster"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read. The leader answers where there is one, for it knows most; else this node."""
        answer(resp, look(self._desk, req, resp))

    on_head = on_get


class Members:
    """/v1/cluster/members"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        answer(resp, MemberPage(look(self._desk, req, resp).members))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take a node in as a learner. 202: it is a voter only once it has caught up."""
        body = self._desk.read(req, NewMember)
        view = change(self._desk, req, resp, add_member(body))
        resp.location = f"{req.path}/{body.member_id}"
        answer(resp, view, status=202)


class OneMember:
    """/v1/cluster/members/{member}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, member: str) -> None:
        """Read."""
        answer(resp, find_member(look(self._desk, req, resp), member))

    on_head = on_get

    def on_delete(self, req: falcon.Request, resp: falcon.Response, member: str) -> None:
        """Let it leave for good."""
        answer(resp, change(self._desk, req, resp, RemoveMember(member=member)))


class LeadershipTransfer:
    """/v1/cluster/leadership/transfer"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Hand leadership over."""
        body = self._desk.read(req, Transfer)
        operation = TransferLeadership(target=body.target or "")
        answer(resp, change(self._desk, req, resp, operation))


class ClusterFeatureLevel:
    """/v1/cluster/feature-level"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Raise it."""
        body = self._desk.read(req, NewFeatureLevel)
        found = self._desk.ask(req, resp, SetFeatureLevel(level=body.level), FeatureLevel)
        answer(resp, FeatureLevelView(found.level))


def look(desk: Desk, req: falcon.Request, resp: falcon.Response) -> ClusterView:
    """Ask for the cluster as it is."""
    return cluster_view(desk.ask(req, resp, GetCluster(), ClusterStatus))


def change(
    desk: Desk, req: falcon.Request, resp: falcon.Response, operation: AnyOperation
) -> ClusterView:
    """Ask for a change of the cluster, and give the cluster after it."""
    return cluster_view(desk.ask(req, resp, operation, ClusterStatus))


def find_member(view: ClusterView, wanted: str) -> MemberView:
    """Find a member by identity, or by a name that only one has. Raises: NotFound."""
    for member in view.members:
        if member.id == wanted:
            return member
    named = [member for member in view.members if member.name == wanted]
    if len(named) > 1:
        raise NotFound(f"{len(named)} members have this name: ask for one by its identity")
    if not named:
        raise NotFound("there is no such member")
    return named[0]


def add_member(body: NewMember) -> AddMember:
    """Read who is to be taken in. Raises: ValidationFailed with the member's pointer."""
    if not _IDENTITY.fullmatch(body.member_id):
        raise _failed("/member_id", "must be 32 lower-case hexadecimal digits")
    problem = why_not_a_name(body.name)
    if problem is not None:
        raise _failed("/name", problem)
    return AddMember(
        member_id=body.member_id,
        name=body.name,
        addresses=_addresses(body.addresses),
        level=1 if body.level is None else body.level,
        replace=bool(body.replace),
    )


def _addresses(body: AddressesBody) -> Addresses:
    given = {field: getattr(body, field) or "" for field in body.__struct_fields__}
    addresses = msgspec.convert(given, Addresses)
    listener = wrong_listener(addresses)
    if listener is not None:
        raise _failed(f"/addresses/{listener}", "must be host:port")
    return addresses


def _failed(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
