from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.ledger import EXAMPLES_MAX, Ledger, ObservedInput, ObservedOutput, ObservedRepeat, audit
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


# ---- coalesced alerts ----------------------------------------------------------------------------------------


def coalesced(*, count: int = 3, first: int = 1, last: int = 5, key: str | None = "raid") -> History:
    """Return flagged messages of two keys: offset 0 alerts, 1, 3 and 5 are counted; 2 and 4 alert with another
    key."""
    chat = Partition("chat", 0)
    inputs = [ObservedInput(partition=chat, offset=offset) for offset in range(6)]
    outputs = [
        ObservedOutput(
            topic=Topic.VERDICT,
            source=(chat, offset),
            partition=0,
            offset=offset,
            flagged=True,
            key=key and (key if offset in {0, 1, 3, 5} else "other"),
        )
        for offset in range(6)
    ]
    outputs += [
        ObservedOutput(
            topic=Topic.ALERT,
            source=(chat, offset),
            partition=0,
            offset=place,
            alert_id=f"alert {offset}",
            key=key and (key if offset == 0 else "other"),
        )
        for place, offset in enumerate((0, 2, 4))
    ]
    repeat = ObservedRepeat(of="alert 0", count=count, first_offset=first, last_offset=last)
    outputs.append(
        ObservedOutput(topic=Topic.ALERT, source=(chat, last), partition=0, offset=3, alert_id="sum", repeat=repeat)
    )
    return inputs, outputs


@pytest.mark.parametrize("key", ["raid", None])
def test_a_flagged_message_that_a_summary_counts_needs_no_alert(key: str | None) -> None:
    ledger = audit(*coalesced(key=key))
    assert ledger.clean, ledger.examples
    assert (ledger.alerts, ledger.summaries, ledger.counted) == (3, 1, 3)
    assert "counted instead of alerts 3" in str(ledger)


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        (coalesced(count=2), 1),
        (coalesced(count=4), 1),
        (coalesced(first=2), 2),
        (coalesced(last=4), 2),
        (coalesced(key=None, count=2), 1),
    ],
)
def test_a_message_in_no_count_and_a_count_of_no_message_are_found(history: History, wrong: int) -> None:
    assert audit(*history).alerts_wrong == wrong


def test_a_summary_is_found_that_is_published_twice_or_names_no_alert() -> None:
    inputs, outputs = coalesced()
    twice = replace(outputs[-1], offset=4)
    assert audit(inputs, [*outputs, twice]).alerts_wrong == 3
    assert outputs[-1].repeat is not None
    foreign = replace(outputs[-1], repeat=replace(outputs[-1].repeat, of="of nothing"))
    assert audit(inputs, [*outputs[:-1], foreign]).alerts_wrong > 0


def test_a_summary_of_another_key_does_not_count_a_message() -> None:
    inputs, outputs = coalesced()
    assert outputs[-1].repeat is not None
    other = replace(outputs[-1], repeat=replace(outputs[-1].repeat, of="alert 2"))
    assert audit(inputs, [*outputs[:-1], other]).alerts_wrong == 6


def test_a_message_both_alerted_and_counted_is_found() -> None:
    inputs, outputs = coalesced()
    alert = replace(outputs[6], source=(Partition("chat", 0), 5), offset=9)
    assert audit(inputs, [*outputs, alert]).alerts_wrong == 1


def test_the_verdict_on_a_truncated_text_may_have_an_alert_and_need_not_have_one() -> None:
    partition = Partition("chat", 0)
    inputs = [ObservedInput(partition=partition, offset=offset) for offset in range(3)]
    truncated = [
        ObservedOutput(
            topic=Topic.VERDICT, source=(partition, offset), partition=0, offset=offset, truncated=offset < 2
        )
        for offset in range(3)
    ]
    alerts = [
        ObservedOutput(topic=Topic.ALERT, source=(partition, offset), partition=0, offset=offset)
        for offset in (0, 2)
    ]
    assert audit(inputs, [*truncated, alerts[0]]).alerts_wrong == 0
    assert audit(inputs, [*truncated, *alerts]).alerts_wrong == 1
