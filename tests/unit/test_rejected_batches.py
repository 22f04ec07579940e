"""A broker refuses a batch: the faulty record is found by sending it alone. A topic that refuses all is named."""

from collections.abc import Callable, Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.rejected_batches import RejectedBatches
from worker.records import ConsumedRecord, OutputRecord, Partition, Topic

INPUT = Partition("messages", 0)
Refuses = Callable[[OutputRecord], str | None]


def output(offset: int, *, topic: Topic = Topic.VERDICT, key: bytes | None = b"channel") -> OutputRecord:
    source = ConsumedRecord(
        partition=INPUT,
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=key,
        value=b"",
        headers=(),
    )
    return OutputRecord(topic=topic, source=source, key=key, value=b"", headers=())


def destination(one: OutputRecord) -> tuple[str, int]:
    return one.topic.value, one.source.offset % 2


class Broker:
    """Answers as Kafka 4.3 does to librdkafka 2.16, and stops at the first flush with a refused batch.

    Attributes:
        refuses: Returns the error for a record, None if the broker accepts it.
        names: Whether the broker names the faulty records of a batch.
        committed: The outputs of the committed transaction.
    """

    def __init__(self, refuses: Refuses, *, names: bool = True) -> None:
        self.refuses = refuses
        self.names = names
        self.committed: list[OutputRecord] = []

    def transaction(self, outputs: Sequence[OutputRecord], refused: RejectedBatches) -> bool:
        """Send one pass; return whether the broker has accepted all. Outputs that were not sent have no report."""
        batches: dict[tuple[str, int], list[OutputRecord]] = {}
        for one in outputs:
            if refused.flush_before(one):
                if not self._flush(batches, refused):
                    return False
                batches = {}
            batches.setdefault(destination(one), []).append(one)
        return self._flush(batches, refused)

    def _flush(self, batches: Mapping[tuple[str, int], Sequence[OutputRecord]], refused: RejectedBatches) -> bool:
        good = True
        for batch in batches.values():
            codes = [self.refuses(one) for one in batch]
            faults = {code for code in codes if code is not None}
            good = good and not faults
            for one, code in zip(batch, codes, strict=True):
                refused.report(one, self._reported(len(batch), faults, code))
        return good

    def _reported(self, count: int, faults: Collection[str], code: str | None) -> str | None:
        if not faults:
            return None
        if "MSG_SIZE_TOO_LARGE" in faults:
            return "MSG_SIZE_TOO_LARGE"
        if count == 1:
            return code
        return "INVALID_RECORD" if code is not None or not self.names else "_INVALID_DIFFERENT_RECORD"


def passes(broker: Broker, outputs: Sequence[OutputRecord], refused: RejectedBatches, count: int) -> int:
    """Publish as the publisher does; rejected records become dead letters. Return the number of passes."""
    for number in range(1, count + 1):
        owed = [
            one
            if (INPUT, one.source.offset, None) not in refused.rejected
            else output(one.source.offset, topic=Topic.DEAD_LETTER, key=one.key)
            for one in outputs
        ]
        trial = refused.holds_suspect(owed)
        if broker.transaction(refused.suspects_last(owed) if trial else owed, refused) and not trial:
            broker.committed = owed
            refused.committed({INPUT: outputs[-1].source.next_offset})
            return number
        refused.settle(destination, "")
        if refused.topic_fault is not None:
            return number
    raise AssertionError(f"no end after {count} passes")


@given(
    st.integers(1, 2000),
    st.sampled_from(["MSG_SIZE_TOO_LARGE", "INVALID_RECORD"]),
    st.booleans(),
    st.data(),
)
def test_the_faulty_records_are_found_in_a_few_passes_and_no_other_record_is_blamed(
    count: int,
    code: str,
    names: bool,  # noqa: FBT001 - hypothesis gives by position
    data: st.DataObject,
) -> None:
    # Three records that are refused before any record is accepted are the topic's fault.
    bad = data.draw(st.sets(st.integers(0, count), min_size=1, max_size=2))
    outputs = [output(offset) for offset in range(count + 2)]
    broker = Broker(
        lambda one: code if one.topic is Topic.VERDICT and one.source.offset in bad else None, names=names
    )
    refused = RejectedBatches()
    good = [one for one in outputs if one.source.offset not in bad]
    passes(broker, outputs, refused, 30)
    assert refused.topic_fault is None or not good
    if refused.topic_fault is None:
        dead = {one.source.offset for one in broker.committed if one.topic is Topic.DEAD_LETTER}
        assert dead == bad
        assert [one.source.offset for one in broker.committed] == list(range(count + 2))
    assert not refused.rejected


@pytest.mark.parametrize("count", [1, 2, 200])
@pytest.mark.parametrize("names", [True, False])
def test_a_topic_that_refuses_all_records_is_at_fault_and_no_record_is(count: int, *, names: bool) -> None:
    broker = Broker(lambda one: "INVALID_RECORD" if one.key is None else None, names=names)
    refused = RejectedBatches()
    assert passes(broker, [output(offset, key=None) for offset in range(count)], refused, 15) <= 15
    assert not refused.rejected
    assert refused.topic_fault is not None
    assert refused.topic_fault.output.topic is Topic.VERDICT


def test_a_topic_that_refuses_all_records_without_a_key_is_at_fault_although_it_accepts_others() -> None:
    broker = Broker(lambda one: "INVALID_RECORD" if one.key is None else None)
    refused = RejectedBatches()
    outputs = [output(offset, key=b"channel" if offset % 3 else None) for offset in range(60)]
    passes(broker, outputs, refused, 15)
    assert not refused.rejected
    assert refused.topic_fault is not None
    assert refused.topic_fault.output.key is None


def test_a_record_that_came_alone_is_at_fault_once_another_record_was_accepted() -> None:
    broker = Broker(lambda one: "INVALID_RECORD" if one.source.offset == 0 and one.topic is Topic.VERDICT else None)
    refused = RejectedBatches()
    for outputs in ([output(0)], [output(0), output(1)]):
        trial = refused.holds_suspect(outputs)
        assert not broker.transaction(refused.suspects_last(outputs) if trial else outputs, refused)
        refused.settle(destination, "INVALID_RECORD")
    assert refused.rejected == {(INPUT, 0, None): "output_refused"}


def test_a_suspect_that_is_accepted_later_is_no_longer_a_suspect() -> None:
    refused = RejectedBatches()
    refused.report(output(0), "INVALID_RECORD")
    refused.settle(destination, "INVALID_RECORD")
    assert refused.holds_suspect([output(0)])
    refused.report(output(0), None)
    refused.settle(destination, "")
    assert not refused.holds_suspect([output(0)])
    assert not refused.rejected


def test_with_a_wrong_clock_neither_a_record_nor_a_topic_is_at_fault() -> None:
    # librdkafka reports INVALID_RECORD for the records of a batch whose timestamps the broker refuses.
    refused = RejectedBatches()
    outputs = [output(offset) for offset in range(100)]
    for _ in range(20):
        for one in outputs:
            refused.report(one, "INVALID_RECORD")
        assert not refused.settle(destination, "INVALID_TIMESTAMP")
    assert not any(refused.flush_before(one) for one in outputs)
    assert not refused.rejected
    assert refused.topic_fault is None


def test_a_wrong_clock_that_the_transaction_s_error_does_not_name_is_found_by_the_search() -> None:
    broker = Broker(lambda _: "INVALID_TIMESTAMP")
    refused = RejectedBatches()
    outputs = [output(offset) for offset in range(100)]
    narrowed = []
    for _ in range(20):
        assert not broker.transaction(outputs, refused)
        narrowed.append(refused.settle(destination, "_STATE"))
    assert narrowed.index(False) < 8
    assert not any(narrowed[8:])
    assert not refused.rejected
    assert refused.topic_fault is None


def test_when_a_dead_letter_is_refused_twice_its_topic_is_at_fault() -> None:
    refused = RejectedBatches()
    for _ in range(2):
        assert refused.topic_fault is None
        refused.report(output(0, topic=Topic.DEAD_LETTER), "MSG_SIZE_TOO_LARGE")
        refused.settle(destination, "MSG_SIZE_TOO_LARGE")
    assert refused.topic_fault is not None


def test_a_commit_of_other_partitions_does_not_end_the_search() -> None:
    refused = RejectedBatches()
    refused.report(output(7), "MSG_SIZE_TOO_LARGE")
    refused.settle(destination, "")
    refused.committed({Partition("messages", 1): 100})
    searching = [refused.is_searching]
    assert refused.rejected == {(INPUT, 7, None): "output_too_large"}
    refused.committed({INPUT: 8})
    assert [*searching, refused.is_searching] == [True, False]
    assert not refused.rejected


def test_the_search_for_a_record_that_never_comes_again_ends() -> None:
    refused = RejectedBatches()
    refused.report(output(7), "MSG_SIZE_TOO_LARGE")
    refused.settle(destination, "")
    commits = 0
    while refused.is_searching:
        refused.committed({Partition("messages", 1): 100})
        commits += 1
    assert commits == 100


def summary(offset: int) -> OutputRecord:
    source = ConsumedRecord(INPUT, 0, offset, offset, None, None, None, ())
    return OutputRecord(topic=Topic.ALERT, source=source, key=b"of", value=b"", headers=())


@pytest.mark.parametrize("error", ["MSG_SIZE_TOO_LARGE", "INVALID_RECORD"])
def test_a_summary_that_the_broker_refuses_is_the_topics_fault_and_never_a_dead_letter(error: str) -> None:
    refused, broker = RejectedBatches(), Broker(lambda one: error if one.is_summary else None)
    outputs = [*(output(offset, topic=Topic.ALERT) for offset in range(4, 9)), summary(2)]
    for _ in range(8):
        assert not broker.transaction(outputs, refused)
        refused.settle(destination, error)
        if refused.topic_fault is not None:
            break
    assert refused.topic_fault is not None
    assert refused.topic_fault.output.is_summary
