"""Who holds which shard, and moves (seed, "Shard Management")."""

from __future__ import annotations

import re
from typing import Final

import falcon
import msgspec

from felix.http.bodies import INTEGER_MAX
from felix.http.broker_bodies import NewMove, PauseBody, RebalanceBody, TransferBody
from felix.http.broker_views import (
    MovePage,
    PlacementPage,
    PlanView,
    move_view,
    placement_plan_view,
    placement_view,
    plan_view,
)
from felix.http.desk import Desk, answer, flag_of, integer_of, page_size_of, text_of
from felix.proto.brokers import (
    MovePlan,
    PlacementPlan,
    PlannedMove,
    ShardMoves,
    StreamName,
)
from felix.proto.errors import NotFound
from felix.proto.identity import Done
from felix.proto.placement_commands import (
    AbandonShard,
    CancelMoves,
    PausePlacement,
    ResumePlacement,
    StartMoves,
)
from felix.proto.queries import (
    GetPlacement,
    GetPlacementPlan,
    ListPlacements,
    ListShardMoves,
    PlanRebalance,
)
from felix.proto.resources import ShardPlacement

_SHARD: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


class Placements:
    """/v1/placements"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        query = ListPlacements(
            page_size=page_size_of(req),
            page_token=text_of(req, "page_token"),
            broker_id=text_of(req, "broker"),
            is_incomplete=flag_of(req, "incomplete"),
        )
        listing = self._desk.list(req, resp, query, seen=None)
        items = [placement_view(one) for one in listing.items if isinstance(one, ShardPlacement)]
        answer(resp, PlacementPage(items, listing.next_page_token))

    on_head = on_get


class StreamPlacement:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/placement"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Read who holds a stream's shards."""
        query = GetPlacement(tenant_id=tenant_id, namespace=namespace, stream=stream)
        row = self._desk.ask(req, resp, query, ShardPlacement)
        answer(resp, placement_view(row), version=row.version)

    on_head = on_get


class StreamRebalance:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/rebalance"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Plan, and carry out unless it is a dry run."""
        _rebalance(self._desk, req, resp, StreamName(tenant_id, namespace, stream))


class Rebalance:
    """/v1/placement/rebalance"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Plan for all streams, and carry out unless it is a dry run."""
        _rebalance(self._desk, req, resp, None)


class ShardTransfer:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/shards/{shard_id}/transfer"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
        shard_id: str,
    ) -> None:
        """Let another of a shard's copies lead it."""
        body = self._desk.read(req, TransferBody)
        name, number = StreamName(tenant_id, namespace, stream), _number(shard_id)
        query = GetPlacement(tenant_id=tenant_id, namespace=namespace, stream=stream)
        row = self._desk.ask(req, resp, query, ShardPlacement)
        if number >= len(row.placements):
            raise NotFound(f"the stream has {len(row.placements)} shards, no {number}")
        leader = row.placements[number].leader
        if leader == body.target_broker:
            nothing = MovePlan(base_version=req.context.seen_version, reason="operator")
            answer(resp, plan_view(nothing))
            return
        move = PlannedMove(
            stream=name,
            shard_id=number,
            kind="leader",
            from_broker=leader,
            to_broker=body.target_broker,
        )
        _carry_out(self._desk, req, resp, StartMoves(plan=_ordered(move, req)))


class ShardAbandonment:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/shards/{shard_id}/abandon"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
        shard_id: str,
    ) -> None:
        """Give up what only unreachable copies hold."""
        command = AbandonShard(
            stream=StreamName(tenant_id, namespace, stream), shard_id=_number(shard_id)
        )
        row = self._desk.ask(req, resp, command, ShardPlacement)
        answer(resp, placement_view(row), version=row.version)


class ShardMovesOfAll:
    """/v1/shard-moves"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List, newest first."""
        query = ListShardMoves(
            page_size=page_size_of(req),
            page_token=text_of(req, "page_token"),
            broker_id=text_of(req, "broker"),
            plan_id=text_of(req, "plan"),
            is_under_way=flag_of(req, "under_way"),
        )
        page = self._desk.ask(req, resp, query, ShardMoves)
        answer(resp, MovePage([move_view(one) for one in page.items], page.next_page_token))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Move one copy of one shard."""
        body = self._desk.read(req, NewMove)
        name = StreamName(body.tenant_id, body.namespace, body.stream)
        query = GetPlacement(tenant_id=body.tenant_id, namespace=body.namespace, stream=body.stream)
        self._desk.ask(req, resp, query, ShardPlacement)
        move = PlannedMove(
            stream=name,
            shard_id=body.shard_id,
            kind=body.kind,
            from_broker=body.from_broker,
            to_broker=body.to_broker,
        )
        _carry_out(self._desk, req, resp, StartMoves(plan=_ordered(move, req)))


class OneShardMove:
    """/v1/shard-moves/{move_id}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_delete(self, req: falcon.Request, resp: falcon.Response, move_id: str) -> None:
        """Take a move back to where it started."""
        self._desk.ask(req, resp, CancelMoves(move_id=move_id), Done)
        resp.status = 204


class OneMovePlan:
    """/v1/placement/plans/{plan_id}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_delete(self, req: falcon.Request, resp: falcon.Response, plan_id: str) -> None:
        """Take back all of a plan's moves that are not over."""
        self._desk.ask(req, resp, CancelMoves(plan_id=plan_id), Done)
        resp.status = 204


class NextPlan:
    """/v1/placement/plan"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say what placement does next by itself, and what it cannot."""
        found = self._desk.ask(req, resp, GetPlacementPlan(), PlacementPlan)
        answer(resp, placement_plan_view(found))

    on_head = on_get


class PlacementPause:
    """/v1/placement/pause"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin no more moves."""
        body = self._desk.read(req, PauseBody)
        self._desk.ask(req, resp, PausePlacement(reason=body.reason), Done)
        resp.status = 204


class PlacementResumption:
    """/v1/placement/resume"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let placement go on by itself."""
        self._desk.ask(req, resp, ResumePlacement(), Done)
        resp.status = 204


def _rebalance(
    desk: Desk, req: falcon.Request, resp: falcon.Response, stream: StreamName | None
) -> None:
    body = desk.read(req, RebalanceBody)
    query = PlanRebalance(stream=stream, strategy=body.strategy)
    plan = desk.ask(req, resp, query, PlacementPlan).plan
    if body.dry_run or not plan.moves:
        answer(resp, plan_view(plan))
        return
    if body.base_version is None:
        _carry_out(desk, req, resp, StartMoves(plan=plan))
        return
    # The caller has looked at the plan of that version. Whether this one is the same is decided
    # where it is applied: nothing that it rests on has changed since.
    base = min(body.base_version, plan.base_version)
    command = StartMoves(
        plan=msgspec.structs.replace(plan, base_version=base),
        rests_on="placements" if stream is None else "brokers",
    )
    _carry_out(desk, req, resp, command)


def _carry_out(desk: Desk, req: falcon.Request, resp: falcon.Response, command: StartMoves) -> None:
    seen: int = req.context.seen_version
    plan = command.plan
    done = desk.ask(req, resp, command, Done)
    resp.location = f"/v1/shard-moves?plan={done.id}"
    shown = msgspec.structs.replace(plan, base_version=min(plan.base_version, seen))
    view: PlanView = plan_view(shown, done.id)
    answer(resp, view, status=202)


def _ordered(move: PlannedMove, req: falcon.Request) -> MovePlan:
    """Make a plan of one move, as of the version that the caller has looked at, if it says one.

    What was read in this request is not put in: repeated with the same idempotency key, it has to
    be the same command.
    """
    version = integer_of(req, "base_version", INTEGER_MAX)
    return MovePlan(base_version=version, reason="operator", moves=(move,))


def _number(text: str) -> int:
    if not _SHARD.fullmatch(text):
        raise NotFound(f"there is no shard {text!r}")
    return int(text)
