"""Which work may be committed, and how far a partition has come."""

from worker.kafka.ownership import Ownership, PartitionProgress, next_offsets
from worker.records import Partition


def test_without_records_there_is_no_offset_to_commit() -> None:
    assert next_offsets([]) == {}


def test_the_end_that_was_reached_is_forgotten_at_the_next_assignment() -> None:
    """Otherwise an idle offset would be committed after records that are about to be read again."""
    partition, owned = Partition("messages", 0), Ownership()
    owned.place({partition: 3})
    position = owned.position(partition)
    assert position is not None
    position.deliver(3, None, None, b"", ())
    assert owned.progress == {partition: PartitionProgress(committed=3, delivered=4, position=4)}
    owned.reached_end(partition, 6)
    assert owned.progress == {partition: PartitionProgress(committed=3, delivered=4, position=6)}
    owned.remove([partition])
    owned.reached_end(partition, 6)
    owned.place({partition: 3})
    assert owned.progress == {partition: PartitionProgress(committed=3, delivered=3, position=3)}
