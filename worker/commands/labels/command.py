"""The command `labels join`, from the options to the exit code."""

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from worker import wiring
from worker.commands.dead_letters import parse_since
from worker.commands.evaluate.labelled_texts import read_text_file
from worker.commands.labels.decisions import DecisionSource, ModeratorDecisions
from worker.commands.labels.joining import (
    REASONS,
    FoundRecord,
    NotJoined,
    Placed,
    PlacedDecision,
    drop_unreadable,
    labelled_lines,
    placed,
    sources_of_verdicts,
    wanted_ids,
)
from worker.commands.labels.private_file import private_file
from worker.commands.labels.record_reading import logs_of, records_at
from worker.commands.policy.stored_verdicts import chunks_of, names_a_file
from worker.commands.setting_files import check_setting_files
from worker.commands.subcommand import add_subcommand_to
from worker.commands.terminal import check_not_read, progress, say
from worker.errors import ExitCode
from worker.kafka.headers import headers_of
from worker.kafka.topic_reader import open_reader, read_to_end, topic_partition_offset
from worker.logs import escaped
from worker.records import Partition
from worker.settings import Need, admin_config, load_settings, variables_for

SINCE = "30d"
FAULTS_SHOWN = 10
_SILENCE_MS_MAX = 30_000
SUMMARY = "Joins moderators' decisions with the texts, for `evaluate` and `calibrate`."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `join` with its arguments."""
    parsers = parser.add_subparsers(required=True, metavar="join")
    join = add_subcommand_to(parsers, "join", SUMMARY, _join)
    join.add_argument(
        "--overturned",
        required=True,
        metavar="TOPIC|FILE",
        help="the decisions: a topic, or a file with a decision a line (schemas/v1/decision.schema.json)",
    )
    join.add_argument(
        "--write", required=True, type=Path, metavar="FILE", help="the file for texts and labels; gets mode 0600"
    )
    join.add_argument(
        "--verdicts",
        metavar="TOPIC|FILE",
        help="where to look for the verdicts that decisions name by id (default: WORKER_KAFKA__VERDICT_TOPIC)",
    )
    join.add_argument(
        "--since",
        default=SINCE,
        help="read topics of decisions and verdicts from this time: 90m, 24h or 7d ago, or an RFC 3339 time "
        f"(default: {SINCE})",
    )
    join.epilog = variables_for("kafka", "input", "policy.path", "drift.reference")


def run(options: argparse.Namespace) -> ExitCode:
    """Run the subcommand.

    Raises:
        FatalError: A setting, an option or a file is wrong, or a topic can't be read.
    """
    code: ExitCode = options.subcommand(options)
    return code


def _join(options: argparse.Namespace) -> ExitCode:
    named = [name for name in (options.overturned, options.verdicts) if name is not None]
    check_not_read([Path(name) for name in named if names_a_file(name)], options.write)
    settings = load_settings(os.environ, {Need.KAFKA}).settings
    check_setting_files(settings, options.write)
    client, read = admin_config(settings.kafka), wiring.input_reader(settings)
    since_ms = parse_since(options.since, time.time_ns() // 1_000_000)
    not_joined, texts = NotJoined(), 0
    with private_file(options.write) as file:
        decisions = ModeratorDecisions.of(_decisions(options.overturned, client, since_ms))
        verdicts = options.verdicts or settings.kafka.verdict_topic
        sources = _sources(decisions, verdicts, client, since_ms)
        found = placed(decisions, sources, settings.kafka.input_topics, not_joined)
        drop_unreadable(found, logs_of(client, found.keys()), not_joined)
        offsets = {partition: frozenset(by_offset) for partition, by_offset in found.items() if by_offset}
        progress(f"reading {sum(map(len, offsets.values())):,} records of {len(offsets)} partitions ...")
        for message in records_at(client, offsets):
            for line in labelled_lines(_take(found, message), _record(message), read, not_joined):
                file.write(line)
                texts += 1
        for one in (one for by_offset in found.values() for ones in by_offset.values() for one in ones):
            not_joined.add("no_record", one.source.place)
    _show(decisions, not_joined, texts, options.write)
    return ExitCode.OTHER if not texts and (decisions.by_target or decisions.faults) else ExitCode.DONE


def _decisions(name: str, client: Mapping[str, Any], since_ms: int) -> Iterator[tuple[str, bytes]]:
    """Yield each line of the file, or each record of the topic, with its place."""
    if names_a_file(name):
        for number, line in enumerate(read_text_file(Path(name)).split("\n"), 1):
            if line.strip():
                yield f"{name}:{number}", line.encode()
        return
    with open_reader(client, [name], since_ms=since_ms) as reader:
        for message in read_to_end(reader, _SILENCE_MS_MAX):
            if (value := message.value()) is not None and message.timestamp()[1] >= since_ms:
                topic, partition, offset = topic_partition_offset(message)
                yield f"{topic}:{partition}:{offset}", value


def _sources(
    decisions: ModeratorDecisions, verdicts: str, client: Mapping[str, Any], since_ms: int
) -> Mapping[str, DecisionSource | None]:
    """Return the sources of the verdicts that decisions name by id; read no verdict if none does."""
    wanted = wanted_ids(decisions)
    if not wanted:
        return {}
    return sources_of_verdicts(wanted, chunks_of(verdicts, client, since_ms))


def _take(found: Placed, message: Message) -> list[PlacedDecision]:
    topic, number, offset = topic_partition_offset(message)
    return found[Partition(topic, number)].pop(offset, [])


def _record(message: Message) -> FoundRecord:
    kind, timestamp_ms = message.timestamp()
    return FoundRecord(
        timestamp_ms=timestamp_ms if kind and timestamp_ms >= 0 else None,
        value=message.value(),
        headers=headers_of(message) or (),
    )


def _show(decisions: ModeratorDecisions, not_joined: NotJoined, texts: int, path: Path) -> None:
    """Print the counts, and no text."""
    say(f"{len(decisions.by_target):,} decisions, {texts:,} labelled texts written to {path} (mode 0600)")
    if decisions.replaced:
        say(f"{decisions.replaced:,} decisions were replaced by a later one on the same message")
    for reason, count in sorted(not_joined.counts.items(), key=lambda item: -item[1]):
        examples = ", ".join(not_joined.examples[reason])
        say(f"{count:,} not joined, {reason}: {REASONS[reason]}. For example {escaped(examples)}")
    if decisions.faults:
        say(f"{len(decisions.faults):,} are not decisions:")
        for fault in decisions.faults[:FAULTS_SHOWN]:
            say(f"  {escaped(fault)}")
