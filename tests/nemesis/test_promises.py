"""What is read from a history besides linearizability: each promise kept, and broken."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.nemesis.__main__ import CLEAN, UNDECIDED, exit_code
from tests.nemesis.checker import OPEN, check
from tests.nemesis.history import Attempt, History, Operation, Outcome, calls_by_key
from tests.nemesis.judge import judge
from tests.nemesis.model import Register
from tests.nemesis.promises import (
    broken_promises,
    keys_with_two_answers,
    stale_reads_that_are_wrong,
    strange_answers,
    versions_that_went_back,
)


def told(begun: float, version: int, value: str = "", **more: float) -> Attempt:
    made = Attempt(
        node="n1",
        begun=begun,
        ended=begun + 0.5,
        value=value,
        version=version,
        catalog_version=version,
    )
    return msgspec.structs.replace(made, **more)


def failed(begun: float, code: str, node: str = "n1") -> Attempt:
    outcome: Outcome = (
        "unknown" if code in {"deadline_exceeded", "outcome_unknown"} else "not_applied"
    )
    return Attempt(node=node, begun=begun, ended=begun + 0.5, code=code, outcome=outcome)


def create(begun: float, version: int, value: str, key: str = "k") -> Operation:
    attempts = (told(begun, version, value),)
    return Operation(client="c", key=key, kind="create", value=value, attempts=attempts)


def write(begun: float, version: int, value: str, key: str = "k") -> Operation:
    attempts = (told(begun, version, value),)
    return Operation(client="c", key=key, kind="write", value=value, attempts=attempts)


def read(begun: float, version: int, value: str, key: str = "k", **more: float) -> Operation:
    attempts = (told(begun, version, value, **more),)
    return Operation(client="r", key=key, kind="read", attempts=attempts)


def stale(begun: float, version: int, value: str, key: str = "k", **more: float) -> Operation:
    operation = read(begun, version, value, key, **more)
    return msgspec.structs.replace(operation, consistency="stale")


def keyed(*attempts: Attempt) -> Operation:
    return Operation(
        client="c", key="k", kind="write", value="b", idempotency_key="i", attempts=attempts
    )


MADE = create(0, 1, "a")


def test_a_history_without_fault_breaks_no_promise() -> None:
    history = [
        MADE,
        write(1, 2, "b"),
        read(2, 2, "b"),
        stale(3, 1, "a", age_ms=1500),
        keyed(failed(4, "deadline_exceeded"), told(5, 3, "b"), told(6, 3, "b")),
    ]
    assert broken_promises(history) == []


def test_an_answer_that_no_fault_of_the_cluster_explains_is_found() -> None:
    assert not strange_answers([keyed(failed(0, "no_leader"), failed(1, "outcome_unknown"))])
    assert len(strange_answers([keyed(failed(0, "key_reused"))])) == 1
    assert len(strange_answers([keyed(failed(0, "internal"))])) == 1


def test_two_answers_under_one_key_are_found() -> None:
    assert not keys_with_two_answers([keyed(told(0, 2, "b"), told(1, 2, "b"))])
    assert not keys_with_two_answers([keyed(failed(0, "no_leader"), told(1, 2, "b"))])
    assert len(keys_with_two_answers([keyed(told(0, 2, "b"), told(1, 3, "b"))])) == 1
    refused = failed(1, "precondition_failed")
    assert len(keys_with_two_answers([keyed(told(0, 2, "b"), refused)])) == 1


def test_an_answer_older_than_what_was_told_of_another_object_is_found() -> None:
    other = create(1, 2, "b", key="other")
    assert not versions_that_went_back([MADE, other, read(2, 2, "b", key="other")])
    late = read(2, 1, "a")
    assert len(versions_that_went_back([MADE, other, late])) == 1
    beside = read(1.2, 1, "a")
    assert not versions_that_went_back([MADE, other, beside])


def test_a_stale_read_older_than_its_age_is_found() -> None:
    history = [MADE, write(1, 2, "b")]
    assert not stale_reads_that_are_wrong([*history, stale(3, 1, "a", age_ms=1600)])
    assert len(stale_reads_that_are_wrong([*history, stale(3, 1, "a", age_ms=1400)])) == 1


def test_a_stale_read_of_what_never_was_is_found() -> None:
    history = [MADE, write(1, 2, "b")]
    never = stale(2, 2, "x", age_ms=9000)
    behind = stale(2, 1, "a", age_ms=9000, catalog_version=2)
    other_value = stale(2, 2, "a", age_ms=9000)
    ahead = stale(2, 2, "b", age_ms=9000, catalog_version=1)
    for wrong in (never, behind, other_value, ahead):
        assert stale_reads_that_are_wrong([*history, wrong]), wrong
    assert not stale_reads_that_are_wrong([*history, stale(2, 1, "a", age_ms=9000)])


def test_an_operation_is_open_if_any_attempt_may_have_had_an_effect() -> None:
    refused = keyed(failed(0, "no_leader"), failed(1, "no_leader"))
    assert refused.timed() is None
    unknown = keyed(failed(0, "deadline_exceeded"), failed(1, "no_leader")).timed()
    assert unknown is not None
    assert unknown[:2] == (0, OPEN)
    known = keyed(failed(0, "deadline_exceeded"), told(1, 2, "b"), told(3, 2, "b")).timed()
    assert known is not None
    assert known[:2] == (0, 1.5)


def test_a_keyed_write_that_came_twice_is_not_linearizable() -> None:
    once = keyed(failed(1, "deadline_exceeded"), told(2, 2, "b"))
    covered = write(3, 3, "c")
    (calls,) = calls_by_key([MADE, once, covered, read(4, 3, "c")]).values()
    assert check(calls, Register()).verdict == "linearizable"
    (calls,) = calls_by_key([MADE, once, covered, read(4, 4, "b")]).values()
    assert check(calls, Register()).verdict == "violation"


def test_a_stale_read_counts_for_the_object_only_if_it_is_taken_for_another() -> None:
    history = [MADE, write(1, 2, "b"), stale(2, 1, "a", age_ms=9000)]
    assert judge(history).is_clean
    trusted = [*history[:-1], read(2, 1, "a")]
    report = judge(trusted)
    assert [finding.key for finding in report.findings] == ["k"]
    assert "read a -> ok at 1" in report.findings[0].text()


def test_without_time_an_object_is_undecided_and_the_exit_code_says_so() -> None:
    history = [MADE, *[read(number, 1, "a") for number in range(1, 2000)]]
    assert judge(history).undecided == []
    report = judge(history, within_s=0)
    assert report.undecided == ["k"]
    assert exit_code(report, []) == UNDECIDED != CLEAN


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History([MADE, stale(1, 1, "a", age_ms=7), keyed(failed(2, "no_leader"))])
    history.save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").operations == history.operations
