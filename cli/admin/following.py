"""What can be waited for beside members: shards that get a place, brokers that empty, moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.command import Followed
from felix.cli.admin.errors import Refused
from felix.cli.admin.wait import Step
from felix.proto.brokers import ACTIVE_STEPS


class Followable(msgspec.Struct, frozen=True):
    """Something that takes time, and where to look for how far it is."""

    step: Callable[[], Step]
    look_at: str
    """The command that shows it."""
    result: Request
    """What is shown in the end."""
    shown_as: str
    """Which command's table is taken for that."""


def followable(kind: Followed, client: AdminClient, document: Any) -> Followable | None:
    """Say how to follow what a request has begun; None: there is nothing to wait for."""
    match kind:
        case "placement":
            names = [document[name] for name in ("tenant_id", "namespace", "stream")]
            place = "/v1/tenants/{}/namespaces/{}/streams/{}".format(*names)
            return Followable(
                partial(_placement, client, place, document["shards"]),
                "felix-admin placement get --tenant {} --namespace {} {}".format(*names),
                Request(path=place),
                "stream get",
            )
        case "drain":
            broker = document["broker_id"]
            return Followable(
                partial(_drain, client, broker),
                f"felix-admin move list --broker {broker} --under-way",
                Request(path=f"/v1/brokers/{broker}"),
                "broker get",
            )
        case "moves":
            plan = document["plan_id"]
            if not plan:
                return None
            moves = Request(path="/v1/shard-moves", query={"plan": plan})
            look_at = f"felix-admin move list --plan {plan}"
            return Followable(partial(_moves, client, moves, plan), look_at, moves, "move list")


def _placement(client: AdminClient, place: str, shards: int) -> Step:
    """Say how many shards of a stream have a leader."""
    try:
        found = client.ask(Request(path=f"{place}/placement")).document["placements"]
    except Refused as error:
        if error.code != "not_found":
            raise
        return Step("unplaced", f"no shard has a place yet{_why_not(client)}")
    led = sum(bool(one["leader"]) for one in found)
    if led == shards:
        return Step("placed", f"all {shards} shards have a leader", is_last=True)
    why = next((one["reason"] for one in found if not one["leader"]), "")
    return Step("placing", f"{led} of {shards} shards have a leader" + (f": {why}" if why else ""))


def _why_not(client: AdminClient, *, is_unplaced: bool = True) -> str:
    """Ask placement, which not everybody may, what is in the way."""
    try:
        found = client.ask(Request(path="/v1/placement/plan")).document
    except Refused:
        return ""
    unmet = found["unplaced"] if is_unplaced else found["plan"]["blocked_by"]
    paused = "placement is paused" if found["is_paused"] else ""
    why = unmet[0]["why"] if unmet else paused
    return f": {why}" if why else ""


def _drain(client: AdminClient, broker: str) -> Step:
    """Say how many copies a broker still holds, and what they wait for."""
    found = client.ask(Request(path=f"/v1/brokers/{broker}")).document
    status, health = found["broker"]["status"], found["health"]
    if not found["broker"]["drain"]:
        raise Refused(
            f"somebody cancelled the drain of {broker}", f"felix-admin broker drain {broker}"
        )
    if status == "drained":
        return Step("drained", f"{broker} holds no copy any more", is_last=True)
    copies = "copies" if health is None else f"{health['copies']:,} copies"
    text = f"{broker} is {status} and holds {copies}"
    query = {"broker": broker, "under_way": "true"}
    moves = client.ask(Request(path="/v1/shard-moves", query=dict(query))).document["items"]
    blocked = next((one["blocked_by"] for one in moves if one["blocked_by"]), "")
    if not moves:
        why = _why_not(client, is_unplaced=False)
        return Step("stuck", f"{text}; no move is under way{why}")
    return Step(
        status, f"{text}; {len(moves)} moves under way" + (f" ({blocked})" if blocked else "")
    )


def _moves(client: AdminClient, request: Request, plan: str) -> Step:
    """Say how many moves of a plan are over. Raises: Refused when one could not be done."""
    moves = client.ask(request).document["items"]
    counts = Counter(one["status"] for one in moves)
    active = sum(counts[step] for step in ACTIVE_STEPS)
    said = ", ".join(f"{counts[step]} {step}" for step in STEPS if counts[step])
    text = f"{len(moves) - active} of {len(moves)} moves are over: {said}" if moves else "no move"
    if not active and (counts["failed"] or counts["cancelled"]):
        failed = next(
            (one for one in moves if one["status"] == "failed" and one["blocked_by"]), None
        )
        why = f": {failed['blocked_by']}" if failed else ""
        raise Refused(text + why, f"see which: felix-admin move list --plan {plan}")
    if active:
        blocked = next((one["blocked_by"] for one in moves if one["blocked_by"]), "")
        text += f" ({blocked})" if blocked else ""
    return Step("moving" if active else "moved", text, is_last=not active)


STEPS: Final = ("waiting", "staging", "fencing", "done", "failed", "cancelled")
