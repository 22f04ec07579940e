"""Compare the check of a transaction with the plainest one: each record by itself, with a table of offsets."""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from worker.kafka.ownership import Ownership, next_offsets
from worker.records import ConsumedRecord, OutputRecord, Partition, Topic

PARTITIONS = [Partition("messages", number) for number in range(3)]
CHANGES = ("deliver", "deliver", "deliver", "deliver", "rewind", "take away")
FAULTS = ("none", "leave out", "double", "swap", "output missing", "output doubled")


def delivered(owned: Ownership, changes: Sequence[tuple[str, int, int]]) -> list[ConsumedRecord]:
    """Place the partitions, deliver records to them, and take partitions away. Return all records."""
    owned.place(dict.fromkeys(PARTITIONS, 0))
    records = []
    for change, number, gap in changes:
        position = owned.position(PARTITIONS[number])
        if change == "take away":
            owned.remove([PARTITIONS[number]])
        elif change == "rewind":
            owned.place({PARTITIONS[number]: 0})
        elif position is not None:
            value = None if gap == 3 else b"text"
            records.append(position.deliver(position.delivered + gap // 2, None, None, value, ()))
    return records


def is_committable(owned: Ownership, records: Sequence[ConsumedRecord]) -> bool:
    """Return whether each record is owned, and goes on where its predecessor ended."""
    at = {partition: progress.committed for partition, progress in owned.progress.items()}
    for record in records:
        if not owned.owns(record) or record.previous_next_offset != at[record.partition]:
            return False
        at[record.partition] = record.next_offset
    return next_offsets(records) == {record.partition: at[record.partition] for record in records}


@example([("deliver", 0, 0), ("deliver", 1, 0), ("rewind", 1, 0)], "all records", "none", 0)
@given(
    st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 2), st.integers(0, 3)), max_size=25),
    st.sampled_from(["all records", "owned records"]),
    st.sampled_from(FAULTS),
    st.integers(0, 24),
)
def test_what_may_be_committed_is_what_a_check_of_each_record_allows(
    changes: list[tuple[str, int, int]], published: str, fault: str, at: int
) -> None:
    owned = Ownership()
    records = delivered(owned, changes)
    if published == "owned records":
        records = [record for record in records if owned.owns(record)]
    place = at % len(records) if records else 0
    match fault:
        case "leave out":
            del records[place : place + 1]
        case "double":
            records[place:place] = records[place : place + 1]
        case "swap":
            records[place : place + 2] = reversed(records[place : place + 2])
    owed = [record for record in records if record.value is not None]
    paid = owed[1:] if fault == "output missing" else owed + owed[:1] * (fault == "output doubled")
    outputs = [OutputRecord(topic=Topic.VERDICT, source=record, key=None, value=b"", headers=()) for record in paid]
    may_be_committed = owed == paid and is_committable(owned, records)
    assert (owned.refusal(records, outputs) is None) == may_be_committed


@given(st.lists(st.sets(st.sampled_from(PARTITIONS), min_size=1), min_size=1, max_size=9))
def test_an_assignment_epoch_belongs_to_one_assignment_of_one_partition(assignments: list[set[Partition]]) -> None:
    owned, epochs = Ownership(), []
    for partitions in assignments:
        owned.place(dict.fromkeys(partitions, 0))
        epochs += [position.assignment_epoch for at in partitions if (position := owned.position(at))]
    assert len(set(epochs)) == len(epochs)
