from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.ledger import EXAMPLES_MAX, Ledger, ObservedInput, ObservedOutput, audit
from worker.records import Partition, Topic

OUTPUT_PARTITIONS = 2
History = tuple[list[ObservedInput], list[ObservedOutput]]


def correct_history(kinds: Sequence[tuple[int, str]]) -> History:
    """Return the inputs and outputs of a worker without errors, from the partition and the kind of each input."""
    ends: dict[tuple[Topic, int], int] = {}
    lengths: dict[Partition, int] = {}
    inputs, outputs = [], []

    def write(topic: Topic, at: ObservedInput, *, flagged: bool = False) -> None:
        partition = at.partition.number % OUTPUT_PARTITIONS
        offset = ends[topic, partition] = ends.get((topic, partition), 0) + 1
        source = at.partition, at.offset
        outputs.append(
            ObservedOutput(topic=topic, source=source, partition=partition, offset=offset, flagged=flagged)
        )

    for number, kind in kinds:
        partition = Partition("chat", number)
        offset = lengths[partition] = lengths.get(partition, -1) + 1
        at = ObservedInput(partition=partition, offset=offset, tombstone=kind == "tombstone")
        inputs.append(at)
        if kind == "broken":
            write(Topic.DEAD_LETTER, at)
        elif kind != "tombstone":
            write(Topic.VERDICT, at, flagged=kind == "unsafe")
        if kind == "unsafe":
            write(Topic.ALERT, at)
    return inputs, outputs


KINDS = st.tuples(st.integers(0, 3), st.sampled_from(["calm", "unsafe", "broken", "tombstone"]))
HISTORIES = st.lists(KINDS, max_size=40).map(correct_history)
WITH_ANSWERS = HISTORIES.filter(lambda history: any(answers(history)))


def answers(history: History) -> list[ObservedOutput]:
    return [seen for seen in history[1] if seen.topic is not Topic.ALERT]


def discrepancies(ledger: Ledger) -> tuple[int, int, int, int, int]:
    return ledger.lost, ledger.doubled, ledger.out_of_order, ledger.alerts_wrong, ledger.foreign


@given(HISTORIES, st.randoms(use_true_random=False))
def test_a_worker_without_errors_is_clean_in_any_order_of_reading(
    history: History, shuffle: Callable[..., float]
) -> None:
    inputs, outputs = history
    ledger = audit(inputs, sorted(outputs, key=lambda _: shuffle.random()))  # type: ignore[attr-defined] # a Random
    assert ledger.clean
    assert ledger.inputs == len(inputs) == ledger.verdicts + ledger.dead_letters + ledger.tombstones
    assert ledger.examples == ()


@given(WITH_ANSWERS, st.data())
def test_each_missing_output_is_one_lost(history: History, data: st.DataObject) -> None:
    inputs, outputs = history
    gone = data.draw(st.lists(st.sampled_from(answers(history)), min_size=1, unique=True))
    ledger = audit(inputs, [seen for seen in outputs if seen not in gone])
    assert (ledger.lost, ledger.doubled, ledger.out_of_order, ledger.foreign) == (len(gone), 0, 0, 0)
    assert ledger.alerts_wrong == sum(seen.flagged for seen in gone)
    assert not ledger.clean


@given(WITH_ANSWERS, st.data())
def test_each_surplus_output_is_one_doubled(history: History, data: st.DataObject) -> None:
    inputs, outputs = history
    again = data.draw(st.sampled_from(answers(history)))
    times = data.draw(st.integers(1, 3))
    later = [replace(again, offset=1000 + number, flagged=False) for number in range(times)]
    ledger = audit(inputs, [*outputs, *later])
    assert (ledger.lost, ledger.doubled, ledger.alerts_wrong, ledger.foreign) == (0, times, 0, 0)
    assert not ledger.clean


@given(HISTORIES, st.data())
def test_an_output_that_names_no_input_is_foreign_and_nothing_else(history: History, data: st.DataObject) -> None:
    inputs, outputs = history
    source = data.draw(st.sampled_from([None, (Partition("chat", 0), 4000), (Partition("other", 0), 0)]))
    foreign = ObservedOutput(topic=data.draw(st.sampled_from(Topic)), source=source, partition=0, offset=5000)
    assert discrepancies(audit(inputs, [*outputs, foreign])) == (0, 0, 0, 0, 1)


def test_two_outputs_in_each_others_place_are_one_out_of_order() -> None:
    inputs, (first, second) = correct_history([(0, "calm"), (0, "calm")])
    swapped = [replace(first, offset=second.offset), replace(second, offset=first.offset)]
    assert discrepancies(audit(inputs, swapped)) == (0, 0, 1, 0, 0)


def test_outputs_of_one_input_partition_in_two_partitions_are_out_of_order() -> None:
    inputs, (first, second) = correct_history([(0, "calm"), (0, "calm")])
    assert discrepancies(audit(inputs, [first, replace(second, partition=1)])) == (0, 0, 1, 0, 0)


def test_outputs_of_two_input_partitions_may_have_any_order() -> None:
    inputs, (first, second) = correct_history([(0, "calm"), (2, "calm")])
    assert (first.partition, second.partition) == (0, 0)
    swapped = [replace(first, offset=second.offset), replace(second, offset=first.offset)]
    assert audit(inputs, swapped).clean


def test_a_tombstone_must_have_no_output_and_one_is_a_double() -> None:
    inputs, (verdict,) = correct_history([(0, "calm")])
    ledger = audit([replace(inputs[0], tombstone=True)], [verdict])
    assert discrepancies(ledger) == (0, 1, 0, 0, 0)


def test_a_verdict_and_a_dead_letter_of_one_message_are_one_double() -> None:
    inputs, (verdict,) = correct_history([(0, "calm")])
    assert audit(inputs, [verdict, replace(verdict, topic=Topic.DEAD_LETTER)]).doubled == 1


@pytest.mark.parametrize(("kind", "alerts"), [("calm", 1), ("unsafe", 0), ("unsafe", 2), ("broken", 1)])
def test_alerts_must_be_exactly_the_flagged_verdicts(kind: str, alerts: int) -> None:
    inputs, outputs = correct_history([(0, kind)])
    kept = [seen for seen in outputs if seen.topic is not Topic.ALERT]
    source = inputs[0].partition, 0
    added = [ObservedOutput(topic=Topic.ALERT, source=source, partition=0, offset=at) for at in range(alerts)]
    ledger = audit(inputs, [*kept, *added])
    assert (ledger.alerts_wrong, ledger.alerts, ledger.clean) == (1, alerts, False)


def test_the_line_names_unusual_counts_only_when_they_are_not_zero() -> None:
    inputs, outputs = correct_history([(0, "calm"), (0, "unsafe"), (1, "broken")])
    assert str(audit(inputs, outputs)) == "in 3, verdicts 2, dead letters 1, lost 0, doubled 0"
    assert str(
        audit([*inputs, ObservedInput(partition=Partition("chat", 9), offset=0, tombstone=True)], outputs[:1])
    ) == ("in 4, verdicts 1, dead letters 0, lost 2, doubled 0; tombstones 1")
    foreign = ObservedOutput(topic=Topic.ALERT, source=None, partition=0, offset=7)
    assert str(audit(inputs, [*outputs, foreign])).endswith("doubled 0; foreign 1")


def test_only_the_first_discrepancies_are_examples() -> None:
    ledger = audit(correct_history([(3, "calm")] * 50)[0], [])
    assert ledger.examples[:2] == ("lost: chat[3] 0", "lost: chat[3] 1")
    assert (ledger.lost, len(ledger.examples)) == (50, EXAMPLES_MAX)
