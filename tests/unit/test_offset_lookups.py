"""Which answers about offsets count, and when the next question about a partition is due."""

from worker.kafka.offset_lookups import OffsetLookups
from worker.records import Partition


def test_an_answer_counts_only_for_the_question_that_it_belongs_to() -> None:
    one, other, lookups = Partition("messages", 0), Partition("messages", 1), OffsetLookups(100, 400)
    first = lookups.ask(lookups.due(0, [one, other]))
    assert lookups.due(0, [one, other]) == set()
    lookups.forget([one])
    assert lookups.current(first, [one, other]) == [other]
    second = lookups.ask(lookups.due(0, [one, other]))
    assert lookups.current(first, [one, other]) == [other]
    assert lookups.current(second, [one, other]) == [one]


def test_the_pauses_between_questions_about_a_partition_grow_up_to_a_bound() -> None:
    partition, lookups = Partition("messages", 0), OffsetLookups(100, 400)
    now_ms, pauses = 0, []
    for _ in range(5):
        lookups.ask([partition])
        lookups.again(now_ms, partition)
        asked_ms = now_ms
        while not lookups.due(now_ms, [partition]):
            now_ms += 1
        pauses.append(now_ms - asked_ms)
    assert pauses == [100, 200, 400, 400, 400]
