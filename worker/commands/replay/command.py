"""The command `replay`, from the options to the exit code."""

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer

from schemas.dead_letter import REASONS
from worker.commands.dead_letters import parse_since
from worker.commands.option_values import positive_number
from worker.commands.replay.copies import LEFT_OUT, copy_of_dead_letter, copy_of_message
from worker.commands.replay.copying import MakeCopy, ReplayRun, ReplayTotals, offsets_of
from worker.commands.replay.log_bounds import committed_progress, log_bounds
from worker.commands.replay.pacing import Pace, progress_line
from worker.commands.replay.replay_producer import ReplayProducer
from worker.commands.replay.retention import FIRST_COPIES_S_MAX, first_copies, retention_ms, warning
from worker.commands.replay.selection import LogBounds, OffsetSpan, ReplaySelection, parse_offsets, resolve
from worker.commands.replay.stored_progress import StoredProgress, stored_options
from worker.commands.terminal import say
from worker.errors import ConfigurationError, ExitCode
from worker.kafka.start_confirmation import StartConfirmation
from worker.kafka.topic_reader import open_reader, partition_count
from worker.records import Partition
from worker.settings import Need, Settings, admin_config, load_settings, producer_config, variables_for

PROGRESS_S = 2
PROGRESS_S_IN_A_LOG = 10
_NAME = re.compile("[a-zA-Z0-9._-]{1,100}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to copy, where to, and how fast."""
    parser.add_argument("name", metavar="NAME", help="the run's name; a run that was cut off goes on by its name")
    parser.add_argument("--to", required=True, metavar="TOPIC", help="the topic to write to; it must exist")
    when = "90m, 24h or 7d ago, or an RFC 3339 time"
    parser.add_argument("--since", metavar="TIME", help=f"copy from the first record of this time on: {when}")
    parser.add_argument("--until", metavar="TIME", help="stop before the first record of this time (default: now)")
    parser.add_argument(
        "--offsets",
        action="append",
        default=[],
        metavar="TOPIC:PARTITION:FIRST-LAST",
        help="copy these offsets instead, both included; may be repeated",
    )
    parser.add_argument(
        "--dead-letters",
        action="append",
        choices=[*REASONS, "all"],
        metavar="REASON",
        help="copy the messages of dead letters with this reason, or all; may be repeated",
    )
    parser.add_argument("--per-second", type=positive_number, metavar="N", help="copy at most N records a second")
    parser.add_argument(
        "--yes", action="store_true", help="allow writing to an input topic, where every copy is judged again"
    )
    parser.epilog = variables_for("kafka")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What the options and the settings say.

    Attributes:
        run_id: The group and the transactional id of the run.
        to: The topic to write to.
        selection: What to copy.
        pace: The limit on the rate.
        make_copy: Makes the copy of a record.
        reader: librdkafka's properties of a client that reads.
        producer: librdkafka's properties of a producer.
    """

    run_id: str
    to: str
    selection: ReplaySelection
    pace: Pace
    make_copy: MakeCopy
    reader: Mapping[str, Any]
    producer: Mapping[str, Any]


def run(options: argparse.Namespace) -> ExitCode:
    """Copy the records, and print how many.

    Raises:
        FatalError: An option or a setting is wrong, records can't be read, or Kafka refuses the copies.
    """
    settings = load_settings(os.environ, {Need.KAFKA}).settings
    plan = plan_of(options, settings, now_ms=time.time_ns() // 1_000_000)
    stopping = threading.Event()
    _stop_on_signals(stopping)
    with open_reader(plan.reader, plan.selection.topics, group_id=plan.run_id) as reader:
        partitions = [Partition(at.topic, at.partition) for at in reader.assignment()]
        reader.unassign()
        count = partition_count(reader, plan.to)
        confirmation = StartConfirmation(plan.reader, plan.run_id)
        producer = ReplayProducer(
            plan.producer, run_id=plan.run_id, topic=plan.to, partitions=count, confirmation=confirmation
        )
        stored = committed_progress(reader, partitions, plan.run_id, confirmation)
        if stored:
            _check_same_options(plan, stored)
        progress = stored or _begin(plan, log_bounds(plan.reader, partitions, plan.selection))
        _check_retention(plan, reader, progress, stopping)
        if not stored:
            producer.publish([], offsets_of(progress), reader.consumer_group_metadata())
        copying = ReplayRun(reader, producer.publish, plan.make_copy, progress, plan.pace)
        copying.copy(stopping.is_set, stopping.wait, _Report(copying).report)
        confirmation.close()
    _show(plan, copying.totals, is_done=not copying.left)
    return ExitCode.OTHER if copying.left else ExitCode.DONE


def plan_of(options: argparse.Namespace, settings: Settings, *, now_ms: int) -> ReplayPlan:
    """Return the plan.

    Raises:
        ConfigurationError: An option is wrong, or needs ``--yes``.
    """
    kafka = settings.kafka
    if not _NAME.fullmatch(options.name):
        raise ConfigurationError(
            f"NAME: got {options.name[:80]!r}; wants up to 100 letters, digits, dots, underscores and hyphens"
        )
    if options.to in {kafka.verdict_topic, kafka.alert_topic, kafka.dead_letter_topic}:
        raise ConfigurationError(f"--to: {options.to} is an output topic of this worker; name a topic for messages")
    if options.to in kafka.input_topics and not options.yes:
        raise ConfigurationError(
            f"--to: {options.to} is an input topic of this worker (WORKER_KAFKA__INPUT_TOPICS). Every copy would "
            "get another verdict, and another alert if it is flagged. Name another topic, or add --yes"
        )
    selection = _selection(options, settings, now_ms)
    reasons = selection.reasons
    return ReplayPlan(
        run_id=f"{kafka.group_id}.replay.{options.name}",
        to=options.to,
        selection=selection,
        pace=Pace(options.per_second),
        make_copy=partial(copy_of_message, options.name)
        if reasons is None
        else partial(copy_of_dead_letter, options.name, reasons=reasons),
        reader=admin_config(kafka),
        producer=producer_config(kafka),
    )


def _selection(options: argparse.Namespace, settings: Settings, now_ms: int) -> ReplaySelection:
    kafka = settings.kafka
    topics = kafka.input_topics if options.dead_letters is None else (kafka.dead_letter_topic,)
    if bool(options.offsets) == bool(options.since):
        raise ConfigurationError("wants either --since TIME or --offsets TOPIC:PARTITION:FIRST-LAST")
    if options.offsets and options.until:
        raise ConfigurationError("--until: wants --since; --offsets has its own end")
    spans = parse_offsets(options.offsets, topics)
    read = sorted({partition.topic for partition in spans} or topics)
    since_ms = parse_since(options.since, now_ms) if options.since else None
    until_ms = parse_since(options.until, now_ms, "--until") if options.until else None
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise ConfigurationError(
            f"--until {options.until} is not after --since {options.since}: nothing is between"
        )
    named = options.dead_letters
    reasons = None if named is None else frozenset(REASONS if "all" in named else named)
    given = {
        "--to": [options.to],
        "--since": [options.since],
        "--until": [options.until],
        "--offsets": sorted(options.offsets),
        "--dead-letters": sorted(options.dead_letters or ()),
        "from": [",".join(read)],
    }
    return ReplaySelection(
        topics=read,
        since_ms=since_ms,
        until_ms=until_ms,
        spans=spans,
        reasons=reasons,
        options=stored_options(
            " ".join(f"{name} {value}" for name, values in given.items() for value in values if value)
        ),
    )


def _begin(plan: ReplayPlan, bounds: Mapping[Partition, LogBounds]) -> dict[Partition, StoredProgress]:
    """Return the progress of a new run: its range, and nothing copied.

    Raises:
        FatalError: The range is not in the log, or an open transaction hides a part of it.
    """
    spans = resolve(plan.selection, bounds)
    if plan.selection.until_ms is None and not plan.selection.spans:
        for partition, at in sorted(bounds.items()):
            if at.stable < at.high:
                _tell(
                    f"{partition}: an open transaction hides the records from offset {at.stable} on; this run ends "
                    "before them"
                )
    # A run without records is stored too, so that the same command does not find records later.
    spans = spans or {one: OffsetSpan(at.stable, at.stable) for one, at in bounds.items()}
    return {
        partition: StoredProgress(
            begin=span.begin, end=span.end, next_offset=span.begin, options=plan.selection.options
        )
        for partition, span in spans.items()
    }


def _check_same_options(plan: ReplayPlan, progress: Mapping[Partition, StoredProgress]) -> None:
    began_with = {at.options for at in progress.values()}
    if began_with != {plan.selection.options}:
        raise ConfigurationError(
            f"The run of the group {plan.run_id!r} began with other options or topics: "
            f"{' / '.join(sorted(began_with))}. Repeat these to go on with it, or choose another NAME"
        )
    passed = sum(at.next_offset - at.begin for at in progress.values())
    total = sum(at.end - at.begin for at in progress.values())
    _tell(f"going on with the run: {passed:,} of {total:,} offsets passed")


def _check_retention(
    plan: ReplayPlan, reader: Consumer, progress: Mapping[Partition, StoredProgress], stopping: threading.Event
) -> None:
    """Warn of copies that Kafka deletes soon, and of partitions whose copies were not compared.

    Raises:
        DataProtectionError: The topic keeps records for too short a time.
    """
    kept = retention_ms(plan.reader, plan.to)
    if kept is None:
        return
    first = first_copies(reader, progress, plan.make_copy, stopping.is_set)
    if first.oldest is not None:
        said = warning(plan.to, plan.reader["bootstrap.servers"], kept, first.oldest, time.time_ns() // 1_000_000)
        if said:
            _tell(said)
    if first.unseen and not stopping.is_set():
        unseen = ", ".join(map(str, sorted(first.unseen)))
        _tell(
            f"no record to copy was found in {unseen} in {FIRST_COPIES_S_MAX:.0f} s: the age of those records was "
            f"not compared with the retention of {plan.to!r}"
        )


class _Report:
    """Prints a line of progress on standard error, every few seconds."""

    def __init__(self, copying: ReplayRun) -> None:
        self._copying = copying
        self._began_s = self._said_s = time.monotonic()
        self._passed_before = copying.passed
        self._total = sum(at.end - at.begin for at in copying.progress.values())
        self._every_s = PROGRESS_S if sys.stderr.isatty() else PROGRESS_S_IN_A_LOG

    def report(self) -> None:
        """Print a line if it is time."""
        now_s = time.monotonic()
        if now_s - self._said_s < self._every_s:
            return
        self._said_s = now_s
        _tell(
            progress_line(
                records=self._copying.totals.copied,
                passed=self._copying.passed,
                passed_before=self._passed_before,
                total=self._total,
                elapsed_s=now_s - self._began_s,
            )
        )


def _show(plan: ReplayPlan, totals: ReplayTotals, *, is_done: bool) -> None:
    say(f"{totals.copied:,} records copied to {plan.to}" + ("" if is_done else "; the range is not finished"))
    for reason, count in sorted(totals.left_out.items()):
        say(f"{count:,} dead letters were left out: {LEFT_OUT[reason]}")
    if not is_done:
        say("stopped. The same command goes on where the run was")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for people


def _stop_on_signals(stopping: threading.Event) -> None:
    """Stop after the present transaction at the first signal; a second signal ends the process immediately."""

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
