"""Thousands of random histories of one broker between nodes that lose, repeat and reorder."""

from __future__ import annotations

import math
import os
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import decode

from felix.proto.codec import encode
from felix.proto.errors import FelixError, NoLeader
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.updates import WatchHeader
from felix.transport.sync import BrokerSync
from felix.transport.sync_records import (
    Acknowledge,
    Action,
    Connect,
    Deliver,
    Fetch,
    Replace,
    SyncLimits,
)
from tests.support.metadata_model import MetadataModel

HISTORIES = int(os.environ.get("FELIX_SYNC_HISTORIES", "1500"))
STEPS = 250


class Node:
    """A node that follows the model at its own pace."""

    def __init__(self, model: MetadataModel) -> None:
        self.model = model
        self.version = model.version
        self.published = model.version


class World:
    """A broker, three nodes, and a network that may do anything but forge."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 100.0
        self.models = [MetadataModel()]
        self.nodes = [Node(self.model) for _ in range(3)]
        self.sync = BrokerSync(3, Random(seed + 1))
        self.connected: tuple[int, int] | None = None
        self.frames: list[tuple[int, tuple[bytes, bytes]]] = []
        self.questions: list[Fetch] = []
        self.state: dict[tuple[str, ...], bytes] = {}
        """Rebuilt from what the broker was told alone."""
        self.version = 0
        self.place = ("", 0)
        self.faults = True
        for _ in range(self.random.randrange(12)):
            self.model.change(self.random)
        for node in self.nodes:
            node.version = node.published = self.model.version
        self.carry_out(self.sync.start(self.now))

    @property
    def model(self) -> MetadataModel:
        return self.models[-1]

    # --- what the broker is told, and what must always hold --------------------------------------

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Connect(session=session, node=node):
                    assert action.delay_s <= SyncLimits().back_off_s_max
                    self.connected = (session, node)
                    self.frames.clear()
                    self.questions.clear()
                case Fetch():
                    self.questions.append(action)
                case Deliver(update=update):
                    assert update.version == self.version + 1, "a version was skipped or repeated"
                    self.version = update.version
                    kind = (type(update.payload).__name__, *update.payload.key)
                    if update.type == "DELETE":
                        assert self.state.pop(kind) is not None
                    else:
                        assert (update.type == "CREATE") == (kind not in self.state)
                        self.state[kind] = encode(update.payload)
                case Replace(view=view):
                    place = (view.cluster_id, view.epoch)
                    if place == self.place:
                        assert view.version >= self.version, "time went back"
                    else:
                        assert place[0] != self.place[0] or place[1] > self.place[1]
                    self.place, self.version = place, view.version
                    self.state = self.model_at(view.cluster_id, view.epoch).state(view.version)
                    self.state = dict(self.state)
                    assert view.version == self.version, "a view that runs ahead of what is told"
                    self.check()
                    self.carry_out(self.sync.proceed(self.now))
        self.check()

    def model_at(self, cluster_id: str, epoch: int) -> MetadataModel:
        return next(m for m in self.models if (m.cluster_id, m.epoch) == (cluster_id, epoch))

    def check(self) -> None:
        view = self.sync.view
        if not self.place[0]:
            return
        model = self.model_at(view.cluster_id, view.epoch)
        assert view.version == self.version
        assert self.state == model.state(view.version), "what was told is not what was"
        assert sorted(view.encoded()) == sorted(self.state.values())
        assert view.digest == model.digest(view.version)
        assert self.sync.statistics(self.now).staleness_s >= 0

    # --- what happens ---------------------------------------------------------------------------

    def step(self) -> None:
        acts = [self.change, self.follow, self.publish, self.bookmark, self.arrive, self.arrive]
        acts += [self.flow, self.flow, self.flow, self.answer, self.answer, self.pass_time]
        if self.faults and self.random.random() < 0.15:
            acts = [self.lose, self.repeat, self.reorder, self.cut, self.compact, self.restore]
            acts += [self.refuse, self.garble, self.lie, self.replace_cluster]
        self.random.choice(acts)()

    def change(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.model.change(self.random)

    def follow(self) -> None:
        node = self.random.choice(self.nodes)
        if node.model is not self.model:
            node.model = self.model
            node.version = node.published = self.model.base
        else:
            node.version = self.random.randint(node.version, self.model.version)

    def flow(self) -> None:
        """The ordinary case: something changes and the node we listen to tells it."""
        self.change()
        if self.connected is not None:
            node = self.nodes[self.connected[1]]
            if node.model is self.model:
                node.version = self.model.version
        self.publish()
        self.arrive()

    def publish(self) -> None:
        for index, node in enumerate(self.nodes):
            if node.published < node.version:
                first, node.published = node.published + 1, node.version
                self.transmit(index, node.model.frame(first, node.version, f"n{index}"))

    def bookmark(self) -> None:
        for index, node in enumerate(self.nodes):
            self.transmit(index, node.model.bookmark(node.published, f"n{index}"))

    def transmit(self, index: int, frame: tuple[bytes, bytes]) -> None:
        if self.connected is not None and self.connected[1] == index:
            self.frames.append((self.connected[0], frame))

    def arrive(self) -> None:
        if self.frames:
            session, frame = self.frames.pop(0)
            self.carry_out(self.sync.frame(session, *frame, self.now))

    def answer(self) -> None:
        if not self.questions or self.connected is None:
            return
        question = self.questions.pop(0)
        node = self.nodes[self.connected[1]]
        message = question.message
        session, token = question.session, question.token
        try:
            if isinstance(message, GetSnapshot):
                answer = node.model.get_snapshot(message, node.version)
                self.carry_out(self.sync.answer(session, token, answer, self.now))
            else:
                batch = node.model.watch_updates(message, node.version)
                self.carry_out(self.sync.answer(session, token, batch, self.now))
        except FelixError as error:
            self.carry_out(self.sync.refused(session, token, error, self.now))

    def refuse(self) -> None:
        if self.questions:
            question = self.questions.pop(0)
            error = NoLeader("not now", retry_after_ms=50)
            self.carry_out(self.sync.refused(question.session, question.token, error, self.now))

    def pass_time(self, seconds: float | None = None) -> None:
        self.now += self.random.random() * 0.3 if seconds is None else seconds
        self.carry_out(self.sync.tick(self.now))

    def lose(self) -> None:
        if self.frames:
            self.frames.pop(self.random.randrange(len(self.frames)))
        if self.questions and self.random.random() < 0.5:
            self.questions.clear()

    def repeat(self) -> None:
        if self.frames:
            self.frames.append(self.random.choice(self.frames))

    def reorder(self) -> None:
        self.random.shuffle(self.frames)

    def garble(self) -> None:
        if self.connected is not None:
            junk = self.random.randbytes(self.random.randrange(40))
            frame = self.frames[0][1] if self.frames else (b"", b"")
            damaged = (frame[0], junk) if self.random.random() < 0.5 else (junk, frame[1])
            self.carry_out(self.sync.frame(self.connected[0], *damaged, self.now))

    def lie(self) -> None:
        """A header arrives whose digest is not that of its version."""
        if self.frames:
            session, (header, payload) = self.frames.pop(0)
            wrong = msgspec.structs.replace(decode(header, type=WatchHeader), digest="f" * 32)
            self.carry_out(self.sync.frame(session, encode(wrong), payload, self.now))

    def cut(self) -> None:
        if self.connected is not None:
            self.carry_out(self.sync.lost(self.connected[0], self.now))

    def compact(self) -> None:
        self.model.compacted_to = self.random.randint(self.model.compacted_to, self.model.version)

    def restore(self) -> None:
        """Restore a backup: another history under a new epoch, as `restore` promises."""
        if self.random.random() < 0.2:
            self._new_model(self.model.cluster_id, self.model.epoch + 1)

    def replace_cluster(self) -> None:
        if self.random.random() < 0.05 and not self.frames:
            self._new_model(f"c{len(self.models) + 1}", 1)
            for node in self.nodes:
                node.model = self.model
                node.version = node.published = self.model.version

    def _new_model(self, cluster_id: str, epoch: int) -> None:
        base = self.random.randrange(30)
        self.models.append(MetadataModel(cluster_id, epoch, base))
        self.model.compacted_to = base
        for _ in range(self.random.randrange(10)):
            self.model.change(self.random)

    # --- the liveness phase ---------------------------------------------------------------------

    def heal(self) -> None:
        """Let all nodes agree and the network work: the broker must then become current."""
        self.faults = False
        for node in self.nodes:
            node.model = self.model
            node.version = node.published = self.model.version
        healed_at = self.now
        for _ in range(400):
            self.bookmark()
            while self.frames or self.questions:
                self.arrive()
                self.answer()
            current_at = self.sync.current_at
            if current_at is not None and current_at > healed_at:
                break
            self.pass_time(0.25)
        else:
            pytest.fail("it never became current again")
        assert self.sync.view.version == self.model.version
        assert self.sync.view.digest == self.model.digest(self.model.version)


@pytest.mark.slow
def test_whatever_the_network_does_a_broker_believes_nothing_false_and_recovers() -> None:
    first = int(os.environ.get("FELIX_SYNC_SEED", "1"))
    for seed in range(first, first + HISTORIES):
        world = World(seed)
        try:
            for _ in range(STEPS):
                world.step()
            world.heal()
        except BaseException:
            print(f"seed {seed}: FELIX_SYNC_SEED={seed} FELIX_SYNC_HISTORIES=1 replays it")
            raise


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), choices=st.lists(st.integers(0, 14), max_size=80))
def test_chosen_histories_end_current_too(seed: int, choices: list[int]) -> None:
    world = World(seed)
    acts = [
        world.change, world.follow, world.publish, world.bookmark, world.arrive, world.answer,
        world.pass_time, world.lose, world.repeat, world.reorder, world.garble, world.cut,
        world.compact, world.restore, world.refuse,
    ]  # fmt: skip
    for choice in choices:
        acts[choice]()
    world.heal()


# --- single decisions ---------------------------------------------------------------------------


def synced(model: MetadataModel, **limits: float) -> tuple[BrokerSync, int]:
    """A broker that is current at the model's version, at time 0."""
    sync = BrokerSync(2, Random(7), limits=SyncLimits(**limits))  # type: ignore[arg-type]  # floats
    actions = sync.start(0.0)
    session = actions[0].session  # type: ignore[union-attr]  # Connect is the first
    while questions := [action for action in actions if isinstance(action, Fetch)]:
        question = questions[0]
        assert isinstance(question.message, GetSnapshot)
        chunk = model.get_snapshot(question.message, model.version)
        actions = sync.answer(session, question.token, chunk, 0.0)
    sync.frame(session, *model.bookmark(model.version), 0.0)
    assert sync.current_at == 0.0
    return sync, session


def streams(count: int) -> MetadataModel:
    model = MetadataModel()
    for number in range(count):
        model.put_stream(f"s{number}")
    return model


def test_an_update_that_skips_one_is_kept_until_the_missing_one_is_there() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    model.put_stream("b")
    actions = sync.frame(session, *model.frame(7, 7), 1.0)
    assert [type(action) for action in actions] == [Fetch]
    assert sync.view.version == 5
    assert sync.counters.gaps_found == 1
    actions = sync.frame(session, *model.frame(6, 6), 1.0)
    assert [a.update.version for a in actions if isinstance(a, Deliver)] == [6, 7]
    assert sync.counters.gaps_filled == 1


def test_knowing_of_a_newer_version_is_not_being_current() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    sync.frame(session, *model.bookmark(6), 5.0)
    assert sync.statistics(6.0).staleness_s == 6.0


def test_a_node_that_lags_behind_cannot_make_a_broker_current() -> None:
    model = streams(5)
    sync, session = synced(model)
    sync.frame(session, *model.bookmark(4), 2.0)
    assert sync.current_at == 0.0


def test_a_wrong_digest_is_never_believed() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    header, payload = model.frame(6, 6)
    good = WatchHeader(1, "c1", 1, 6, 6, "n1", 0, model.digest(6))
    assert encode(good) != header  # the time differs, the digest does not
    bad = WatchHeader(1, "c1", 1, 6, 6, "n1", 0, "0" * 32)
    actions = sync.frame(session, encode(bad), payload, 1.0)
    assert sync.view.version == 5
    assert not [action for action in actions if isinstance(action, Deliver)]
    assert [a.message for a in actions if isinstance(a, Fetch)] == [GetSnapshot()]
    assert sync.counters.digest_mismatches == 1


def test_a_digest_that_keeps_disagreeing_drives_the_broker_to_another_node() -> None:
    model = streams(2)
    sync, session = synced(model)
    wrong = encode(WatchHeader(1, "c1", 1, 3, 2, "n1", 0, "0" * 32))
    for now in (1.0, 2.0, 3.0):
        actions = sync.frame(session, wrong, b"\x90", now)
        while questions := [a for a in actions if isinstance(a, Fetch)]:
            message = questions[0].message
            assert isinstance(message, GetSnapshot)
            chunk = model.get_snapshot(message, model.version)
            actions = sync.answer(session, questions[0].token, chunk, now) + sync.proceed(now)
    assert sync.session > session


def test_an_older_epoch_of_the_same_cluster_is_left_alone() -> None:
    new = MetadataModel("c1", 2, 10)
    new.put_stream("a")
    sync, session = synced(new)
    old = streams(20)
    actions = sync.frame(session, *old.bookmark(20), 1.0)
    assert [type(action).__name__ for action in actions] == ["Warn", "Connect"]
    assert sync.view.epoch == 2


def test_a_new_epoch_means_a_new_snapshot_even_at_the_same_version() -> None:
    sync, session = synced(streams(5))
    restored = MetadataModel("c1", 2, 4)
    restored.put_stream("other")
    actions = sync.frame(session, *restored.bookmark(5), 1.0)
    assert [a.message for a in actions if isinstance(a, Fetch)] == [GetSnapshot()]


def test_silence_and_a_refused_connection_both_lead_to_another_node() -> None:
    sync, session = synced(streams(1))
    assert not sync.tick(2.9)
    assert any(isinstance(action, Connect) for action in sync.tick(3.1))
    assert sync.session == session + 1
    assert any(isinstance(action, Connect) for action in sync.lost(sync.session, 3.2))
    assert sync.counters.failovers == 2


def test_pauses_between_nodes_grow_and_are_bounded() -> None:
    sync, _ = synced(streams(1))
    delays = []
    for step in range(40):
        actions = sync.lost(sync.session, float(step))
        delays += [action.delay_s for action in actions if isinstance(action, Connect)]
    assert max(delays[:3]) <= 0.2
    assert 1.0 < max(delays) <= 5.0


def test_what_is_kept_for_later_is_bounded() -> None:
    model = streams(1)
    sync, session = synced(model, pending_frames_max=4)
    for number in range(20):
        model.put_stream(f"n{number}")
    for version in range(3, 21):
        sync.frame(session, *model.frame(version, version), 1.0)
    assert sync.counters.frames_dropped == 14


def test_frames_of_a_session_that_is_over_are_ignored() -> None:
    model = streams(5)
    sync, session = synced(model)
    sync.lost(session, 1.0)
    model.put_stream("a")
    assert sync.frame(session, *model.frame(6, 6), 1.0) == []
    assert sync.view.version == 5


def test_a_broker_that_never_was_current_says_so() -> None:
    sync = BrokerSync(1, Random(1))
    sync.start(0.0)
    assert sync.statistics(100.0).staleness_s == math.inf


def test_another_node_that_lags_does_not_make_us_forget_a_newer_version() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    sync.frame(session, *model.bookmark(6), 1.0)
    sync.lost(session, 1.0)
    sync.tick(2.0)
    sync.frame(sync.session, *model.bookmark(5, "n2"), 2.0)
    assert sync.current_at == 0.0


def test_a_node_that_cannot_tell_what_it_announced_is_asked_again_after_a_pause() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    fetch = next(a for a in sync.frame(session, *model.bookmark(6), 1.0) if isinstance(a, Fetch))
    assert isinstance(fetch.message, WatchUpdates)
    assert not sync.answer(session, fetch.token, model.watch_updates(fetch.message, 5), 1.0)
    assert any(isinstance(action, Fetch) for action in sync.tick(1.2))


def test_a_part_of_a_large_batch_does_not_make_a_broker_current() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    part = encode(WatchHeader(1, "c1", 1, 6, 6, "n1", 0, ""))
    actions = sync.frame(session, part, model.frame(6, 6)[1], 1.0)
    assert [type(action) for action in actions] == [Deliver]
    assert sync.current_at == 0.0


def wanting_acks(frame: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    header = msgspec.structs.replace(decode(frame[0], type=WatchHeader), wants_acks=True)
    return encode(header), frame[1]


def test_an_update_for_which_somebody_waits_is_acknowledged_after_it_is_delivered() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    model.put_stream("b")
    assert Acknowledge() not in sync.frame(session, *model.frame(6, 6), 1.0)
    actions = sync.frame(session, *wanting_acks(model.frame(7, 7)), 1.0)
    assert [type(one) for one in actions] == [Deliver, Acknowledge]
    actions = sync.frame(session, *wanting_acks(model.frame(7, 7)), 1.0)
    assert actions == [Acknowledge()], "somebody asks again, and we have it"


def test_an_update_that_came_too_early_is_acknowledged_once_the_gap_is_filled() -> None:
    model = streams(5)
    sync, session = synced(model)
    model.put_stream("a")
    model.put_stream("b")
    actions = sync.frame(session, *wanting_acks(model.frame(7, 7)), 1.0)
    (question,) = [one for one in actions if isinstance(one, Fetch)]
    assert Acknowledge() not in actions
    assert isinstance(question.message, WatchUpdates)
    batch = model.watch_updates(question.message, 7)
    assert sync.answer(session, question.token, batch, 1.0)[-1] == Acknowledge()
