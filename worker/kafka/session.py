"""Kafka as the loop sees it: a member of the consumer group, and the publisher, as one session.

One owner thread calls all of this: since confluent-kafka 2.16 a call from a second thread blocks until the first
one's ``poll`` returns. A transaction is one call, ``publish``; none is open across a poll, so that a rebalance
never finds one.

A position is given in one way only, by ``_place``: ask what the group has committed, and assign with explicit
offsets. An assignment, a rewind and a position that retention has overtaken all put partitions among the waiting
ones, and ``poll`` places them, once the publisher has settled what an earlier producer left. Callbacks note what
happened and assign nothing, so a broker that does not answer never holds one up. Rejected: ``seek`` (after
librdkafka has found no offset it fails for ever, and it races with what is already fetched); leaving the reset to
librdkafka (``earliest`` skips a lost range without a word, ``latest`` loses messages at a rewind).
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.kafka.client_errors import ClientErrors, Membership
from worker.kafka.clients import client
from worker.kafka.consumer_errors import CONSUMER_ERRORS, ErrorAction
from worker.kafka.group_metadata import is_member
from worker.kafka.headers import headers_of
from worker.kafka.offset_reset import OffsetReset
from worker.kafka.ownership import OutOfOrder, Ownership, next_offsets
from worker.kafka.partition_monitor import PartitionMonitor
from worker.kafka.publisher import Publisher
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.quarantined_partitions import QuarantinedPartitions
from worker.kafka.start_offsets import StartOffsets
from worker.kafka.tail_sampler import TailSampler
from worker.kafka.throttling import Throttling
from worker.kafka.topic_ids import TopicIdLogger, stamp
from worker.kafka.transaction import Event
from worker.records import ConsumedRecord, DeadLetterExcess, Headers, OutputRecord, Partition

log = logging.getLogger(__name__)

PORTION_RECORDS = 8
"""Messages taken together. One with 100,000 headers (librdkafka reads no more) takes up to 30 MB as soon as it is
taken, and nothing tells before. Portions of 8 to 1,023 took the same time per message, 0.4 to 0.8 us."""
POLL_BYTES_MAX = 2**20
"""After this many bytes a poll takes no further portion; what is in memory is counted between polls."""
_ANSWER_MS = 10  # how long a poll waits while brokers are asked for starts


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the session needs to know.

    Attributes:
        consumer_config: librdkafka's properties for the consumer.
        input_topics: Their names.
        offset_reset: Where a partition without a committed offset starts.
        incremental_rebalance: Whether the group rebalances incrementally: cooperative-sticky, and KIP-848.
        publisher: For the other half.
        admin_config: librdkafka's properties for a client that asks how far there is something to read.
        is_readable: Whether a record's value holds a chat message.
        end_offset_interval_ms: How often it asks.
        stall_timeout_ms: How long a partition may stand still although there is something to read.
        blocked_warning_ms: How long another producer's transaction may be open without a warning.
    """

    consumer_config: Mapping[str, Any]
    input_topics: Sequence[str]
    offset_reset: OffsetReset
    incremental_rebalance: bool
    publisher: PublisherOptions
    admin_config: Mapping[str, Any]
    is_readable: Callable[[bytes], bool]
    end_offset_interval_ms: int = 5_000
    stall_timeout_ms: int = 30_000
    blocked_warning_ms: int = 20_000


class Session:
    """The loop's ``Log`` on a real Kafka."""

    def __init__(
        self,
        options: SessionOptions,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.invalidations = 0
        self.rebalances: Counter[str] = Counter()  # by what the group did: assigned, revoked, lost
        self._options = options
        self._clock = clock
        self._watch = watch
        self._owned = Ownership()
        self._assigned: set[Partition] = set()  # what librdkafka fetches
        self._waiting: set[Partition] = set()  # ours, without a position yet
        self._out_of_range: set[Partition] = set()  # of these, those whose committed position is gone
        self._paused = False
        self._told_of_headers = False
        membership = Membership.of(options.consumer_config, options.input_topics)
        self._client_errors = ClientErrors(membership, options.admin_config)
        configs = {"consumer": options.consumer_config, "producer": options.publisher.config}
        self._throttling = {name: Throttling(name, config, clock) for name, config in configs.items()}
        self._publisher = Publisher(
            options.publisher,
            clock=clock,
            watch=watch,
            on_error=self._client_errors.record,
            on_throttle=self._throttling["producer"].record,
        )
        self._monitor = PartitionMonitor(
            options.admin_config,
            end_offset_interval_ms=options.end_offset_interval_ms,
            stall_timeout_ms=options.stall_timeout_ms,
            queued_records=int(options.consumer_config.get("queued.min.messages", 100_000)),  # librdkafka's default
            blocked_warning_ms=options.blocked_warning_ms,
        )
        self._start_offsets = StartOffsets(
            options.admin_config, group_id=options.consumer_config["group.id"], reset=options.offset_reset
        )
        self._quarantined = QuarantinedPartitions(
            TailSampler(options.admin_config, options.is_readable), clock=clock
        )
        self._recreated: set[str] = set()  # topics that were deleted and created again
        self._consumer = self._new_consumer()

    def subscribe(self) -> None:
        """Joins the group; only now, with the model loaded, since a member must poll."""
        self._consumer.subscribe(
            list(self._options.input_topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    @property
    def events(self) -> Mapping[Event, int]:
        """How often what went wrong in a transaction, or was refused before one."""
        return self._publisher.events

    @property
    def rejected(self) -> Mapping[tuple[Partition, int], str]:
        """Records (partition, offset) whose outputs a broker refuses, with the dead letter's reason."""
        return self._publisher.rejected

    @property
    def throttled_s(self) -> Mapping[str, float]:
        """For how long brokers have delayed the consumer and the producer because of quotas, in all."""
        return {name: one.total_s for name, one in self._throttling.items()}

    @property
    def positioned(self) -> Sequence[Partition]:
        """Those that are read."""
        return self._owned.partitions

    @property
    def assigned(self) -> Collection[Partition]:
        """Those that are ours: with a position, still without, or in quarantine."""
        return self._waiting.union(self._owned.partitions, self._quarantined.partitions)

    @property
    def quarantined(self) -> Collection[Partition]:
        """Those of them that are not read, because too many of their records would be dead letters."""
        return self._quarantined.partitions

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count against it."""
        return self._quarantined.exempt_below

    @property
    def is_member(self) -> bool:
        """Whether the group knows us, with partitions or without."""
        return is_member(self._consumer.consumer_group_metadata())

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Whether the record is still ours to commit."""
        return self._owned.owns(fetched)

    def ready(self) -> bool:
        """Whether ``publish`` may be called; takes a step towards it, of about a second at most."""
        return self._publisher.ready()

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Serves rebalances and errors, and gives what there is.

        Args:
            records_max: At most so many messages.
            wait_ms: How long to wait for the first.

        Raises:
            KafkaFatalError: Kafka won't have us.
            DataProtectionError: There is no position to start from, and the settings want none chosen.
        """
        self._publisher.serve()
        now_ms = self._clock()
        fetched: list[ConsumedRecord] = []
        try:
            self._fetch(records_max, min(wait_ms, _ANSWER_MS) if self._waiting else wait_ms, fetched)
        except OutOfOrder as disorder:
            log.warning("%s: everything uncommitted is read again", disorder)
            self.rewind()
        except KafkaException as error:
            self._client_errors.record(error.args[0])
        self._client_errors.handle(now_ms)
        self._recreated.update(
            self._start_offsets.check_topics(now_ms, lambda: self.assigned, lambda: self._owned.progress)
        )
        if self._quarantined.partitions and (released := self._quarantined.release_due()):
            self._consumer.resume(_plain(released))
            self._waiting.update(released)
        if self._waiting and self._publisher.ready():
            self._place(now_ms)
        if self._recreated:
            self._leave_gone_logs()
        self._monitor.observe(len(fetched), len(self._assigned))
        self._look_after_idle_partitions(now_ms)
        return [one for one in fetched if self._owned.owns(one)]

    def publish(self, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
        """One transaction: the outputs, and the offsets after the records; only when ``ready``.

        Returns:
            Whether it is committed. If not: ``rewind``.

        Raises:
            KafkaFatalError: The process must end; the transaction is not committed.
        """
        offsets = next_offsets(records)
        refusal = self._owned.refusal(records, outputs)
        committed = self._commit(outputs, offsets, refusal)
        if committed:
            self._owned.committed(offsets)
        return committed

    def rewind(self) -> None:
        """Makes every record in memory stale; ``poll`` reads on from what the group has committed."""
        self._waiting.update(self._owned.partitions)
        self._owned.remove(self._waiting)
        self._start_offsets.forget(self._waiting)
        self.invalidations += 1

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        """Make the records of partitions stale, and read no more of them until they are released.

        They stay ours, and assigned: to unassign one would offer it to the group.

        Raises:
            FatalError: Every partition is like that; nothing of the last batch is committed.
        """
        bad, assigned = {excess.partition for excess in excesses}, self.assigned
        self._owned.remove(bad)
        self.invalidations += 1
        self._consumer.pause(_plain(bad))
        self._quarantined.add(excesses, assigned=assigned, input_partitions=self._existing)

    def release_quarantined(self) -> None:
        """Release all partitions in quarantine, whatever is in them: a person wants it."""
        self._quarantined.release_all()

    def pause(self) -> None:
        """Fetches nothing until ``resume``; what was prefetched is thrown away."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(_plain(self._assigned))

    def resume(self) -> None:
        """Fetches again, if it was paused."""
        if self._paused:
            self._paused = False
            self._consumer.resume(_plain(self._assigned.difference(self._quarantined.partitions)))

    def backlog(self) -> Mapping[Partition, int]:
        """Messages that could be read and are not judged, as of some seconds ago; without what is not known."""
        known = self._monitor.backlog(self._clock())
        return {partition: known[partition] for partition in self._owned.partitions if partition in known}

    def blocked_s(self) -> Mapping[Partition, float]:
        """For how long another producer's open transaction has blocked partitions, as of some seconds ago."""
        blocked = self._monitor.blocked(self._clock())
        return {at: blocked[at].age_ms / 1000 for at in self._owned.partitions if at in blocked}

    def close(self) -> None:
        """Leaves the group (a static member of a classic group stays until its session ends)."""
        self._consumer.close()
        self._start_offsets.close()
        self._quarantined.close()

    # ---- the quiet partitions -------------------------------------------------------------------------------

    def _look_after_idle_partitions(self, now_ms: int) -> None:
        """Commits the places of those that are idle, and joins the group anew when one is stalled."""
        if self._throttling["consumer"].is_throttled() or self._paused:
            self._monitor.reset()
        findings = self._monitor.look(now_ms, self._consumer, self._owned)
        if findings is None or self._paused:
            return
        if findings.stalled:
            names = _listed(findings.stalled)
            log.error("%s does not move although there are messages: joining the group again", names)
            self._rejoin()
        elif findings.idle and self._publisher.ready():
            if self._commit([], findings.idle, None):
                self._owned.committed(findings.idle)
            else:
                self.rewind()

    def _rejoin(self) -> None:
        """As a new member, with a new client: what hung in the old one is gone."""
        with self._watch("leaving the group"):
            self._consumer.close()
        self.rewind()
        self._assigned.clear()
        self._waiting.clear()
        self._out_of_range.clear()
        self._quarantined.forget(list(self._quarantined.partitions))
        self._monitor.reset()
        self._consumer = self._new_consumer()
        self.subscribe()

    # ---- the group -------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.rebalances["assigned"] += 1
        self._waiting.update(_names(partitions))
        if self._options.incremental_rebalance:
            consumer.incremental_assign([])
        else:
            consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._give_up(consumer, partitions, "revoked")

    def _on_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._give_up(consumer, partitions, "lost")

    def _give_up(self, consumer: Consumer, partitions: Sequence[TopicPartition], how: str) -> None:
        gone = _names(partitions)
        self.rebalances[how] += 1
        log.info("%s: %s", how, _listed(gone))
        self._owned.remove(gone)
        self._waiting -= gone
        self._out_of_range -= gone
        self._start_offsets.forget(gone)
        self.invalidations += 1
        # librdkafka remembers a pause beyond the assignment: a partition that came back would stay silent.
        consumer.resume(_plain(gone.intersection(self._quarantined.partitions)))
        if self._paused:
            consumer.resume(_plain(self._assigned & gone))
        self._quarantined.forget(gone)
        if self._options.incremental_rebalance:
            consumer.incremental_unassign(_plain(self._assigned & gone))
        else:
            consumer.unassign()
        self._assigned -= gone

    def _place(self, now_ms: int) -> None:
        """Gives waiting partitions the positions that have been found; never waits for one."""
        found = self._start_offsets.find(now_ms, self._waiting, self._out_of_range)
        for error in found.errors:
            self._client_errors.record(error)
        self._recreated.update(found.recreated)
        starts = found.committed | found.chosen
        if not starts or (found.chosen and not self._commit([], found.chosen, None)):
            return
        placed = [TopicPartition(p.topic, p.number, offset) for p, offset in sorted(starts.items())]
        if self._options.incremental_rebalance:
            self._consumer.incremental_unassign(_plain(self._assigned & starts.keys()))
            self._consumer.incremental_assign(placed)
            self._assigned |= starts.keys()
        else:
            # An eager group's client takes assignments as a whole only: those that are read go on where they are.
            read_on = self._owned.progress
            placed += [TopicPartition(p.topic, p.number, at.position) for p, at in sorted(read_on.items())]
            self._consumer.assign(placed)
            self._assigned = {*starts, *read_on}
        self._waiting -= starts.keys()
        self._out_of_range -= starts.keys()
        self._owned.place(starts)
        if self._paused:
            self._consumer.pause(placed)
        log.info("reading from: %s", ", ".join(f"{p}@{offset}" for p, offset in sorted(starts.items())))

    def _leave_gone_logs(self) -> None:
        """Joins the group anew: whatever the old client knows of these topics belongs to logs that are gone."""
        backlog = self._monitor.backlog(self._clock())
        for topic in sorted(self._recreated):
            log.warning("%s", self._start_offsets.recreation_message(topic, self._owned.progress, backlog))
        self._recreated.clear()
        self._rejoin()

    def _on_topic_id(self, topic: str, old: str, new: str) -> None:
        """Librdkafka has learned that a topic has another id; called within a poll."""
        if self._start_offsets.ids.record_change(topic, old, new):
            self._recreated.add(topic)

    def _commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[Partition, int], refusal: Event | None
    ) -> bool:
        metadata = self._consumer.consumer_group_metadata()
        if refusal is None and not is_member(metadata):
            refusal = Event.NO_METADATA
        ids = self._start_offsets.ids
        stamped = [TopicPartition(p.topic, p.number, at, stamp(ids.current(p.topic))) for p, at in offsets.items()]
        return self._publisher.publish(outputs, stamped, metadata, refusal)

    def _new_consumer(self) -> Consumer:
        config = self._options.consumer_config
        lines = TopicIdLogger(config, self._on_topic_id)
        callbacks = {"error_cb": self._client_errors.record, "throttle_cb": self._throttling["consumer"].record}
        return client(Consumer, {**config, "debug": lines.debug, **callbacks}, lines)

    def _existing(self) -> int | None:
        """How many partitions the input topics have; None: no broker says so within a second."""
        topics = self._options.input_topics
        try:
            found = [self._consumer.list_topics(topic, timeout=1).topics[topic] for topic in topics]
        except KafkaException:
            return None
        return sum(len(topic.partitions) for topic in found)

    # ---- what Kafka says -------------------------------------------------------------------------------------

    def _fetch(self, records_max: int, wait_ms: int, into: list[ConsumedRecord]) -> None:
        """Take what there is, a portion at a time, until there is enough: by records, or by bytes.

        ``poll`` waits for the first message: ``consume`` would wait for its number of messages. The others are
        taken without waiting: a message belongs to the epoch that is in force when it is handed over.
        """
        first = self._consumer.poll(wait_ms / 1000)
        messages = [] if first is None else [first]
        bytes_left = POLL_BYTES_MAX
        while messages:
            known = len(into)
            self._accept(messages, into)
            bytes_left -= sum(one.size_bytes for one in into[known:])
            portion = min(PORTION_RECORDS, records_max - len(into))
            messages = self._consumer.consume(portion, 0) if bytes_left > 0 and portion > 0 else []

    def _accept(self, messages: Sequence[Message], into: list[ConsumedRecord]) -> None:
        for message in messages:
            error = message.error()
            partition = Partition(message.topic() or "", message.partition() or 0)
            if error is not None:
                self._on_message_error(partition, message.offset() or 0, error)
                continue
            kind, timestamp_ms = message.timestamp()
            fetched = self._owned.fetched(
                partition,
                message.offset() or 0,
                timestamp_ms=timestamp_ms if kind and timestamp_ms >= 0 else None,
                key=message.key(),
                value=message.value(),
                headers=self._headers(partition, message),
            )
            if fetched is not None:
                into.append(fetched)

    def _headers(self, partition: Partition, message: Message) -> Headers:
        headers = headers_of(message)
        if headers is None and not self._told_of_headers:
            self._told_of_headers = True
            log.warning(
                "%s@%s has a header whose name is not UTF-8: such messages are judged without headers",
                partition,
                message.offset(),
            )
        return headers or ()

    def _on_message_error(self, partition: Partition, offset: int, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
            self._owned.reached_end(partition, offset)
        elif CONSUMER_ERRORS.get(error.name()) is ErrorAction.FIND_POSITION:
            log.warning("%s: %s", partition, error.str())
            self.rewind()
            self._out_of_range.add(partition)
        else:
            self._client_errors.record(error)


def _names(partitions: Sequence[TopicPartition]) -> set[Partition]:
    return {Partition(one.topic, one.partition) for one in partitions}


def _plain(partitions: Collection[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in sorted(partitions)]


def _listed(partitions: Collection[Partition]) -> str:
    return ", ".join(str(partition) for partition in sorted(partitions)) or "nothing"
