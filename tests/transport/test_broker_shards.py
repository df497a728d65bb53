"""What goes into a report: everything at first, then what the control plane may not know."""

from __future__ import annotations

from felix.proto.brokers import Placement, ShardStatus, StreamName
from felix.proto.codec import encode
from felix.proto.resources import ShardPlacement
from felix.transport.broker_shards import ShardReports
from felix.transport.view import MetadataView

NAME = StreamName("acme", "prod", "orders")
NOTHING = MetadataView()


def led(shard_id: int = 0, in_sync: tuple[str, ...] = ("b1",), subscribers: int = 0) -> ShardStatus:
    return ShardStatus(
        stream=NAME,
        shard_id=shard_id,
        role="leader",
        generation=1,
        in_sync=in_sync,
        subscribers=subscribers,
    )


def view(in_sync: tuple[str, ...], generation: int = 1) -> MetadataView:
    place = Placement(
        shard_id=0, leader="b1", replicas=("b2",), in_sync=in_sync, generation=generation
    )
    row = ShardPlacement(tenant_id="acme", namespace="prod", stream="orders", placements=(place,))
    found = MetadataView("c", 1, 1)
    found.load(encode(row))
    return found


def test_everything_is_said_first_and_then_only_what_is_new() -> None:
    reports = ShardReports()
    one, two = led(0), led(1)
    news = reports.news((one, two), NOTHING)
    assert (news.statuses, news.is_all) == ((one, two), True)
    reports.acknowledged(news)
    busier = led(1, subscribers=3)
    news = reports.news((one, busier), NOTHING)
    assert (news.statuses, news.is_all) == ((busier,), False)
    reports.acknowledged(news)
    assert reports.news((one, busier), NOTHING).statuses == ()


def test_what_was_not_acknowledged_is_said_again() -> None:
    reports = ShardReports()
    assert reports.news((led(),), NOTHING) == reports.news((led(),), NOTHING)


def test_a_copy_that_is_gone_makes_the_next_report_whole() -> None:
    reports = ShardReports()
    reports.acknowledged(reports.news((led(0), led(1)), NOTHING))
    news = reports.news((led(1),), NOTHING)
    assert (news.statuses, news.is_all) == ((led(1),), True)


def test_after_forgetting_everything_is_said() -> None:
    reports = ShardReports()
    reports.acknowledged(reports.news((led(),), NOTHING))
    reports.forget()
    assert reports.news((led(),), NOTHING).is_all


def test_copies_in_sync_are_said_until_the_metadata_has_them() -> None:
    reports = ShardReports()
    both = led(in_sync=("b1", "b2"))
    reports.acknowledged(reports.news((both,), view(("b1",))))
    assert reports.news((both,), view(("b1",))).statuses == (both,)
    assert reports.news((both,), view(("b1", "b2"))).statuses == ()
    assert reports.news((both,), view(("b1",), generation=2)).statuses == (), "of another time"
