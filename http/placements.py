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
from felix.http.rights import caller_of, is_operator, require
from felix.identity.caller import Caller
from felix.proto.brokers import (
    MovePlan,
    MoveReason,
    PlacementPlan,
    PlannedMove,
    ShardMove,
    ShardMoves,
    StreamName,
)
from felix.proto.errors import Forbidden, NotFound
from felix.proto.identity import Done
from felix.proto.permissions import Object
from felix.proto.placement_commands import (
    AbandonShard,
    CancelMoves,
    PausePlacement,
    ResumePlacement,
    StartMoves,
)
from felix.proto.queries import (
    PAGE_SIZE_MAX,
    GetPlacement,
    GetPlacementPlan,
    ListPlacements,
    ListShardMoves,
    PlanRebalance,
    move_token_after,
)
from felix.proto.resources import ShardPlacement

OF_TENANTS: Final[tuple[MoveReason, ...]] = ("operator", "balance")
"""Reasons of moves that those who manage the stream may take back."""
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
        if caller_of(req).sees_all:
            page = self._desk.ask(req, resp, query, ShardMoves)
        else:
            page = self._seen(req, resp, query)
        answer(resp, MovePage([move_view(one) for one in page.items], page.next_page_token))

    on_head = on_get

    def _seen(
        self, req: falcon.Request, resp: falcon.Response, query: ListShardMoves
    ) -> ShardMoves:
        """Read on until there is a page that the caller may see; of others' moves it tells nothing,
        not even by where it ends."""
        wanted = query.page_size or PAGE_SIZE_MAX
        following = msgspec.structs.replace(query, page_size=PAGE_SIZE_MAX)
        items: list[ShardMove] = []
        while True:
            page = self._desk.ask(req, resp, following, ShardMoves)
            items += [move for move in page.items if _sees(caller_of(req), move)]
            if len(items) > wanted:
                return ShardMoves(items[:wanted], move_token_after(items[wanted - 1].move_id))
            if not page.next_page_token:
                return ShardMoves(items)
            following = msgspec.structs.replace(following, page_token=page.next_page_token)

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
        if not is_operator(caller_of(req)):
            self._check_own(req, resp, move_id)
        self._desk.ask(req, resp, CancelMoves(move_id=move_id), Done)
        resp.status = 204

    def _check_own(self, req: falcon.Request, resp: falcon.Response, move_id: str) -> None:
        """Let somebody take back what was ordered for a stream of its own.

        What empties brokers and makes copies anew is the cluster's: whoever could cancel that again
        and again would hold a maintenance up. Raises: NotFound, Forbidden.
        """
        caller = caller_of(req)
        query = ListShardMoves(move_id=move_id)
        found = self._desk.ask(req, resp, query, ShardMoves).items
        move = next((one for one in found if _sees(caller, one)), None)
        if move is None:
            raise NotFound(f"there is no move {move_id!r}")
        require(req, "stream.manage", _stream_of(move))
        if move.reason not in OF_TENANTS:
            raise Forbidden(f"a move of reason {move.reason} is taken back by cluster.manage only")


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


def _stream_of(move: ShardMove) -> Object:
    return Object("stream", move.stream.key)


def _sees(caller: Caller, move: ShardMove) -> bool:
    if caller.sees_all:
        return True
    return caller.tenant_id == move.stream.tenant_id and caller.sees(_stream_of(move))


def _number(text: str) -> int:
    if not _SHARD.fullmatch(text):
        raise NotFound(f"there is no shard {text!r}")
    return int(text)
