"""Ask the brokers about the partitions of a run: where the logs begin and end, and what the run has committed."""

import itertools
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition

from worker.commands.replay.selection import LogBounds, ReplaySelection
from worker.commands.replay.stored_progress import StoredProgress, stored_progress
from worker.errors import KafkaFatalError
from worker.kafka.clients import SLICE_S, slice_s
from worker.kafka.metadata import ANSWER_MS_MAX
from worker.kafka.offset_queries import OffsetQueries, offset_of
from worker.kafka.start_confirmation import StartConfirmation
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future


def log_bounds(
    client_config: Mapping[str, Any], partitions: Collection[Partition], selection: ReplaySelection
) -> dict[Partition, LogBounds]:
    """Return the bounds of partitions.

    Raises:
        KafkaFatalError: A broker did not answer, or does not let this user see a topic.
    """
    queries = OffsetQueries(client_config)
    low = queries.earliest(partitions)
    stable = queries.latest(partitions)
    high = queries.latest(partitions, IsolationLevel.READ_UNCOMMITTED)
    since, until = selection.since_ms, selection.until_ms
    timed_since = {} if since is None else queries.for_timestamp(partitions, since)
    timed_until = {} if until is None else queries.for_timestamp(partitions, until)
    found = {
        one: LogBounds(
            low=_answer(one, low[one], least=0),
            stable=_answer(one, stable[one], least=0),
            high=_answer(one, high[one], least=0),
            since=None if since is None else _answer(one, timed_since[one], least=-1),
            until=None if until is None else _answer(one, timed_until[one], least=-1),
        )
        for one in partitions
    }
    queries.close()
    return found


def _answer(partition: Partition, answer: "Future[Any]", *, least: int) -> int:
    try:
        answer.result()
    except KafkaException as error:
        raise KafkaFatalError(
            f"Kafka did not give the offsets of {partition} ({error.args[0].str()}): grant this user READ on "
            "the topic, and look at the leader of this partition."
        ) from error
    offset = offset_of(answer, least=least)
    if offset is None:
        raise KafkaFatalError(f"The leader of {partition} has just gone: run this command again.")
    return offset


def committed_progress(
    reader: Consumer, partitions: Collection[Partition], run_id: str, confirmation: StartConfirmation
) -> dict[Partition, StoredProgress]:
    """Return what a run has committed; empty if the run is new.

    The answer has the partitions of all topics. A run of this name may have begun with other options, which read
    other topics.

    Args:
        reader: A consumer of the run's group. It has no partition assigned.
        partitions: All partitions of the topics that the options read.
        run_id: The run's group.
        confirmation: Notes the answers, so that the first transaction confirms them.

    Raises:
        KafkaFatalError: The coordinator did not answer, does not let this user read the group, or the offsets are
            not those of a run.
    """
    asked = {*partitions, *_visible_partitions(reader)}
    answers = _committed(reader, [TopicPartition(*one) for one in sorted(asked)], run_id)
    found = {}
    for at in answers:
        partition = Partition(at.topic, at.partition)
        if partition in partitions:
            confirmation.expect(at)
        if at.offset < 0:
            continue
        stored = stored_progress(at.offset, at.metadata)
        if stored is None:
            raise KafkaFatalError(
                f"The group {run_id!r} has an offset of {partition} that no run has committed: "
                "choose another name for this run."
            )
        found[partition] = stored
    return found


def _visible_partitions(reader: Consumer) -> set[Partition]:
    """Return the partitions of all topics that this user may see: a consumer must name what it asks for."""
    try:
        topics = reader.list_topics(timeout=ANSWER_MS_MAX / 1000).topics
    except KafkaException as error:
        raise KafkaFatalError(f"No broker answers the question about topics ({error.args[0].str()}).") from error
    return {Partition(name, number) for name, topic in topics.items() for number in topic.partitions}


def _committed(reader: Consumer, asked: list[TopicPartition], run_id: str) -> list[TopicPartition]:
    """Ask for the committed offsets, in slices.

    Without a permission on the group librdkafka finds no coordinator, and each slice times out. Only a poll between
    the slices learns why. The reader has no partition assigned, so the poll returns no record.
    """
    deadline_s = time.monotonic() + ANSWER_MS_MAX / 1000
    for failed in itertools.count():
        left_s = deadline_s - time.monotonic()
        try:
            return reader.committed(asked, timeout=slice_s(failed, max(SLICE_S, left_s)))
        except KafkaException as error:
            why: KafkaError = error.args[0]
        event = reader.poll(0)
        if event is not None and (reported := event.error()) is not None:
            why = reported
        if why.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise KafkaFatalError(
                f"Kafka does not let this user use the group {run_id!r}: grant this user READ on the group."
            )
        if left_s <= 0 or not (why.retriable() or why.name() == "_TIMED_OUT"):
            raise KafkaFatalError(
                f"Kafka did not give the offsets of the group {run_id!r} ({why.str()}): look at the coordinator of "
                "the group, and run this command again."
            )
    raise AssertionError("the loop returns or raises")
