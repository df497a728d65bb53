"""The KeyManager actor: rotates the signing keys of all tenants while this node leads.

Again and again it walks over the keys of all tenants, a page at a time with pauses in between, asks
`felix.core.auth.keys` what is to be done, and proposes that. On every node it sees whether the
private keys can be decrypted: one that cannot is found out before the node has to lead.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, cast

import msgspec
import structlog

from felix.actors.messages import ActorRef, GetStatistics, RaiseAlarms, tell_if_alive
from felix.core.auth.keys import HeldKey, Rotation, Sightings, duties
from felix.proto.commands import (
    ActivateSigningKey,
    RetireSigningKey,
    RewrapSigningKey,
    StageSigningKey,
)
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError, KeyStateRefused, NotFound
from felix.proto.identity import SealedKey, SigningKeyPage
from felix.proto.queries import ClusterStatus, GetCluster, ListAllSigningKeys
from felix.proto.resources import SigningKey
from felix.proto.rpc import Answer, AnyRequest
from felix.storage.sealed import Sealer, Unsealable
from felix.transport.socket_actor import SocketActor, handles

LOOK_S: Final = 1.0
"""From the end of one walk to the next look."""
FOLLOWER_LOOKS: Final = 30
"""A node that does not lead walks only after so many looks."""
PAGE_KEYS: Final = 100
SLICE_TENANTS: Final = 100
PAUSE_S: Final = 0.05
"""Between two pages, and between two slices of tenants: commits go on meanwhile."""
ASK_S: Final = 2.0
PRINCIPAL: Final = "felix:key-manager"
NAMED_MAX: Final = 5
"""An alarm names so many keys."""

log = structlog.get_logger("felix.keys")

Ask: TypeAlias = Callable[[AnyRequest, Call], Answered]
_Place: TypeAlias = tuple[str, str, str]
KeyCommand: TypeAlias = StageSigningKey | ActivateSigningKey | RetireSigningKey | RewrapSigningKey
Item: TypeAlias = tuple[SigningKey, SealedKey, int]
"""With the tenant's rotation period in seconds; 0: the default."""


class KeyTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When keys are replaced, in seconds; see the section `keys` of the configuration."""

    rotation_period_s: int = 90 * 86_400
    publish_lead_s: int = 3_900
    retire_after_s: int = 1_800


class Clock(msgspec.Struct, frozen=True):
    """The time: by the wall, as in stamps, and by a clock that does not jump."""

    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000


class KeyStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the last walk has found."""

    states: dict[str, int] = {}
    """How many keys there are in each state."""
    unsealable: int = 0
    """Keys that this node cannot decrypt."""
    overdue: int = 0
    """Keys that sign, and should have been replaced by now."""
    oldest_since_s: float = 0.0
    """Since when the oldest key that signs does so, in Unix seconds; 0: there is none."""
    walks: int = 0


class KeyHealth:
    """Where KeyManager leaves its numbers: it may be waiting for an answer when one asks."""

    def __init__(self) -> None:
        self.now = KeyStatistics()


class _Look(msgspec.Struct, frozen=True):
    """Begin a walk."""


class _NextPage(msgspec.Struct, frozen=True):
    """Go on with the walk."""

    token: str


class _NextTenants(msgspec.Struct, frozen=True):
    """Go on with what the walk has found."""


class KeyManager(SocketActor):
    """Walks, judges, proposes; and begins again."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        ask: Ask,
        raft: ActorRef,
        sealer: Sealer | None,
        times: KeyTimes,
        health: KeyHealth,
        clock: Clock = Clock(),  # noqa: B008 - immutable
        look_s: float = LOOK_S,
    ) -> None:
        """`ask` asks this node; whoever stops this actor first sees to it that it does not wait.

        Without a `sealer` there is no key-encryption key, and no private key can be decrypted.
        """
        super().__init__(failed)
        self._ask_node = ask
        self._clock = clock
        self._look_s = look_s
        self._raft = raft
        self._sealer = sealer
        self._times = times
        self._health = health
        self._sightings = Sightings()
        self._proposes = False
        """This node leads, and nothing has come in between since this walk began."""
        self._looks_left = 0
        """Until a node that does not lead walks."""
        self._found: list[Item] = []
        self._tenants: Iterator[list[tuple[HeldKey, int]]] = iter(())
        self._opened: dict[_Place, None] = {}
        """Keys that could be decrypted, so that each is tried once."""
        self._unsealable: list[SealedKey] = []
        self._alarm = ""

    def acquire(self) -> None:
        """Look at once."""
        self.after(0, _Look())

    @handles(_Look)
    def _look(self, message: _Look) -> None:
        status = self._ask(GetCluster())
        self._proposes = isinstance(status, ClusterStatus) and status.leader_id == status.node_id
        if not self._proposes and self._looks_left:
            self._looks_left -= 1
            self.after(self._look_s, message)
            return
        self._looks_left = FOLLOWER_LOOKS if _has_caught_up(status) else 0
        self._found = []
        self.after(0, _NextPage(""))

    @handles(_NextPage)
    def _next_page(self, message: _NextPage) -> None:
        query = ListAllSigningKeys(page_size=PAGE_KEYS, page_token=message.token)
        page = self._ask(query)
        if not isinstance(page, SigningKeyPage):
            self._looks_left = 0
            self.after(self._look_s, _Look())
            return
        self._found += page.items
        if page.next_page_token:
            self.after(PAUSE_S, _NextPage(page.next_page_token))
            return
        self._unsealable = []
        self._tenants = self._by_tenant()
        self.after(0, _NextTenants())

    def _by_tenant(self) -> Iterator[list[tuple[HeldKey, int]]]:
        """Group what the walk has found; which is seen to be there from now on."""
        pairs = [(key, sealed) for key, sealed, _ in self._found]
        held = self._sightings.hold(pairs, self._clock.monotonic_ms())
        periods = [period_s for *_, period_s in self._found]
        grouped = itertools.groupby(
            zip(held, periods, strict=True), key=lambda one: one[0].key.tenant_id
        )
        return (list(group) for _, group in grouped)

    @handles(_NextTenants)
    def _next_tenants(self, message: _NextTenants) -> None:
        tenants = list(itertools.islice(self._tenants, SLICE_TENANTS))
        for held in tenants:
            self._see_to([key for key, _ in held], held[0][1])
        if len(tenants) == SLICE_TENANTS:
            self.after(PAUSE_S, message)
            return
        self._end_walk()
        self.after(self._look_s, _Look())

    def _see_to(self, held: list[HeldKey], period_s: int) -> None:
        """Do what is to be done about one tenant."""
        found = duties(held, self._clock.wall_ms(), self._rotation(period_s))
        unsealable = [one.sealed for one in held if not self._can_open(one.sealed)]
        self._unsealable += unsealable
        if self._sealer is None:
            return
        for command in found.commands:
            self._propose(cast("KeyCommand", command))
        for sealed in found.rewrap:
            if self._proposes and sealed not in unsealable:
                self._propose(_rewrapped(self._sealer, sealed))

    def _rotation(self, period_s: int) -> Rotation:
        sealer = self._sealer
        return Rotation(
            rotation_period_s=period_s or self._times.rotation_period_s,
            publish_lead_s=self._times.publish_lead_s,
            retire_after_s=self._times.retire_after_s,
            kek_id="" if sealer is None else sealer.kek_id,
            previous_kek_ids=() if sealer is None else sealer.previous_kek_ids,
        )

    def _can_open(self, sealed: SealedKey) -> bool:
        place = _place_of(sealed)
        if place in self._opened:
            return True
        try:
            if self._sealer is None:
                return False
            self._sealer.open(sealed)
        except Unsealable:
            return False
        self._opened[place] = None
        return True

    def _propose(self, command: KeyCommand) -> None:
        """Have a command applied; whatever stands in its way, the next walk sees it again."""
        if not self._proposes:
            return
        try:
            self._ask_node(command, Call(timeout_s=ASK_S, principal=PRINCIPAL))
        except FelixError as error:
            self._proposes = isinstance(error, NotFound | KeyStateRefused)  # somebody was faster
            log.warning("a signing key waits", **_words(command), because=error.message)
        else:
            log.info("a signing key changes", **_words(command))

    def _ask(self, query: AnyRequest) -> Answer | None:
        try:
            return self._ask_node(query, Call(timeout_s=ASK_S, consistency="stale")).result
        except FelixError as error:
            log.debug("this node does not answer itself", because=error.message)
            return None

    def _end_walk(self) -> None:
        """Tell what the walk has found, and forget what is not there any more."""
        there = {_place_of(sealed) for _, sealed, _ in self._found}
        self._opened = {place: None for place in self._opened if place in there}
        signing = [key.state_since_ms for key, *_ in self._found if key.state == "active"]
        self._health.now = KeyStatistics(
            states=dict(Counter(key.state for key, *_ in self._found)),
            unsealable=len(self._unsealable),
            overdue=self._overdue(),
            oldest_since_s=min(signing, default=0) / 1000,
            walks=self._health.now.walks + 1,
        )
        alarm = self._alarm_now()
        if alarm != self._alarm:
            self._alarm = alarm
            if alarm:
                log.error(alarm)
            else:
                log.info("all signing keys can be decrypted again")
            tell_if_alive(self._raft, RaiseAlarms("keys", (alarm,) if alarm else ()))

    def _overdue(self) -> int:
        """Count the keys that sign for longer than their period and a key's lead together."""
        now_ms = self._clock.wall_ms()
        return sum(
            key.state == "active"
            and now_ms - key.state_since_ms
            > 1000 * (self._rotation(period_s).rotation_period_s + self._times.publish_lead_s)
            for key, _, period_s in self._found
        )

    def _alarm_now(self) -> str:
        if not self._unsealable:
            return ""
        named = ", ".join(f"{one.tenant_id}/{one.kid}" for one in self._unsealable[:NAMED_MAX])
        more = ", ..." if len(self._unsealable) > NAMED_MAX else ""
        return (
            f"{len(self._unsealable)} signing keys cannot be decrypted with any key-encryption key "
            f"of this node: {named}{more}"
        )

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> KeyStatistics:
        return self._health.now


def _has_caught_up(status: Answer | None) -> bool:
    """Tell whether a node has by and large what there is: before that a walk says little."""
    return (
        isinstance(status, ClusterStatus)
        and status.leader_id is not None
        and status.applied_index >= status.commit_index
    )


def _place_of(sealed: SealedKey) -> _Place:
    return (sealed.tenant_id, sealed.kid, sealed.kek_id)


def _rewrapped(sealer: Sealer, sealed: SealedKey) -> RewrapSigningKey:
    kek_id, data = sealer.rewrap(sealed)
    return RewrapSigningKey(tenant_id=sealed.tenant_id, kid=sealed.kid, kek_id=kek_id, sealed=data)


def _words(command: KeyCommand) -> dict[str, str]:
    kid = "" if isinstance(command, StageSigningKey) else command.kid
    return {"command": type(command).__name__, "tenant": command.tenant_id, "kid": kid}
