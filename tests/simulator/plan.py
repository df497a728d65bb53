"""What one seed does: which faults it switches on, how often, and how the cluster is set up."""

from __future__ import annotations

from enum import Enum
from random import Random

import msgspec

from felix.core.raft.config import RaftConfig

TICK_US = 10_000
"""Of a short history; a long one ticks as slowly as production beats."""
SAFETY_US = 4_000_000
"""How long the phase with faults lasts: some thirty election timeouts."""
LIVENESS_US = 30_000_000
"""How long a healed cluster may take to agree; most need a few hundred milliseconds, but a newcomer
may have to get a thousand entries, one by one."""


class Fault(Enum):
    """What may go wrong. Each seed switches a random half of these off (swarm testing)."""

    CRASH = "a node dies and starts again"
    POWER_CUT = "all nodes die at once"
    KEPT_WRITE = "a node that dies in a write finds it on its disk"
    PAUSE = "a node stops for a while; its messages wait"
    PARTITION = "the nodes fall into two groups"
    ONE_WAY = "a node sends but does not hear, or hears but does not send"
    SLOW_DISK = "a node's writes take long"
    SLOW_LINK = "messages between two nodes take long"
    HELD_LINK = "messages of a link wait, then come all at once"
    DROP = "messages get lost"
    DUPLICATE = "messages come twice"
    REORDER = "messages overtake each other"
    DAMAGE = "snapshot chunks arrive damaged"
    SKEW = "the nodes' clocks run at different speeds"
    CLOCK_STEP = "a node's clock jumps, forward or back"
    LINGER = "nodes take in several messages before they act"
    BURST = "many writes at once"
    COMPACTION = "nodes trim their logs after snapshots"
    MEMBERS = "nodes join, leave, move, are given up, and come back with their old disk"
    TRANSFER = "leadership is handed over, to whoever it may be"
    DISK_LOSS = "a disk is lost, or found damaged when its node starts"
    WRONG_STATE = "a bit of a state machine in memory flips"


EVENTS = (
    Fault.CRASH,
    Fault.POWER_CUT,
    Fault.PAUSE,
    Fault.PARTITION,
    Fault.ONE_WAY,
    Fault.SLOW_DISK,
    Fault.SLOW_LINK,
    Fault.HELD_LINK,
    Fault.CLOCK_STEP,
    Fault.MEMBERS,
    Fault.TRANSFER,
    Fault.DISK_LOSS,
    Fault.WRONG_STATE,
)
"""Faults that begin at some moment and end at another; the others are there all the time."""
NEED_LINKS = (Fault.PARTITION, Fault.ONE_WAY, Fault.SLOW_LINK, Fault.HELD_LINK)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a run that is decided before it starts."""

    seed: int
    nodes: int
    faults: tuple[Fault, ...]
    raft: RaftConfig
    fault_every_us: int
    """Mean time between two fault events."""
    operation_every_us: int
    """Mean time between two operations of clients."""
    delay_us_max: int
    drop: float
    duplicate: float
    reorder: float
    damage: float
    """Chances of each message."""
    linger_us_max: int
    write_us_max: int
    snapshot_entries: int
    trail_entries_max: int
    checkpoint_entries: int
    """After so many entries the digests are compared."""
    founders: int
    """Of the `nodes`; the others may join."""
    tick_us: int = TICK_US
    patience: int = 1
    """Faults last so many times longer than in a short history."""
    varies: bool = False
    """Each spell of faults knows another half of them."""

    def has(self, fault: Fault) -> bool:
        """Say whether this seed knows a fault."""
        return fault in self.faults


def draw_plan(seed: int, nodes: int) -> Plan:
    """Decide what a seed does."""
    random = Random(f"plan {seed}")
    faults = tuple(
        fault for fault in Fault if random.random() < 0.5 and (nodes > 1 or fault not in NEED_LINKS)
    )
    heartbeat = random.choice((1, 2))
    shortest = heartbeat * random.choice((4, 6))
    founders = nodes
    if Fault.MEMBERS in faults and nodes > 1:
        founders = random.randint(max(1, nodes - 2), nodes)
    append_bytes, in_flight = random.choice(((1, 16), (200, 4), (1 << 20, 1), (1 << 20, 256)))
    return Plan(
        seed=seed,
        nodes=nodes,
        faults=faults,
        raft=RaftConfig(
            heartbeat_ticks=heartbeat,
            election_ticks_min=shortest,
            election_ticks_max=shortest * 2,
            append_bytes_max=append_bytes,
            in_flight_messages_max=in_flight,
            in_flight_bytes_max=random.choice((200, 1 << 20)),
            promote_after_ticks=random.choice((1, 2)) * shortest,
            snapshot_chunk_bytes=random.choice((3, 10, 1 << 10)),
            snapshot_chunks_in_flight=random.choice((1, 2, 4)),
        ),
        fault_every_us=random.choice((50_000, 120_000, 400_000)),
        operation_every_us=random.choice((8_000, 20_000, 40_000)),
        delay_us_max=random.choice((500, 3_000, 12_000)),
        drop=random.choice((0.01, 0.05, 0.2)) if Fault.DROP in faults else 0.0,
        duplicate=random.choice((0.02, 0.2)) if Fault.DUPLICATE in faults else 0.0,
        reorder=random.choice((0.02, 0.2)) if Fault.REORDER in faults else 0.0,
        damage=random.choice((0.05, 0.3)) if Fault.DAMAGE in faults else 0.0,
        linger_us_max=random.choice((1_000, 8_000)) if Fault.LINGER in faults else 0,
        write_us_max=random.choice((300, 2_000, 8_000)),
        snapshot_entries=random.choice((3, 10, 25)) if Fault.COMPACTION in faults else 1 << 30,
        trail_entries_max=random.choice((0, 2, 20)),
        checkpoint_entries=random.choice((2, 5, 16)),
        founders=founders,
    )


LIFE_TICK_US = 50_000


def draw_life_plan(seed: int, nodes: int) -> Plan:
    """Decide what a long history does: as a short one, slower, and with logs that are trimmed."""
    plan = draw_plan(seed, nodes)
    random = Random(f"life {seed}")
    return msgspec.structs.replace(
        plan,
        faults=tuple(
            fault
            for fault in Fault
            if fault in {*plan.faults, Fault.COMPACTION, *EVENTS}
            and (nodes > 1 or fault not in NEED_LINKS)
        ),
        fault_every_us=random.choice((500_000, 2_000_000, 5_000_000)),
        operation_every_us=random.choice((100_000, 300_000)),
        snapshot_entries=random.choice((20, 100, 400)),
        trail_entries_max=random.choice((0, 20, 100)),
        checkpoint_entries=random.choice((5, 20)),
        tick_us=LIFE_TICK_US,
        patience=LIFE_TICK_US // TICK_US,
        varies=True,
    )
