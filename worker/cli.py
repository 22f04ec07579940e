"""The commands: each a few lines over the parts, which it imports when it runs."""
# ruff: noqa: PLC0415 - `run` must load nothing that it does not use, and `config` no torch

import argparse
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from schemas.dead_letter import REASONS
from worker.errors import ExitCode
from worker.settings import Loaded, Need, load_settings, variables_for
from worker.watchdog import Watchdog, end

SECONDS_MAX = 3600

Command = Callable[[argparse.Namespace], ExitCode]


def main(arguments: Sequence[str]) -> ExitCode:
    """Runs one command.

    Raises:
        FatalError: What the command refuses, with the exit code.
    """
    options = _parser().parse_args(arguments)
    command: Command = options.command
    return command(options)


def say(line: str) -> None:
    """A line to people."""
    print(line, flush=True)  # noqa: T201 - a command's output


def run(_options: argparse.Namespace) -> ExitCode:
    """The worker, until SIGTERM or SIGINT."""
    watchdog = Watchdog()
    watchdog.start()
    loaded = _load({Need.KAFKA, Need.MODEL})
    from worker import running, wiring

    running.run(loaded, watchdog, wiring.open_classifier)
    return ExitCode.DONE


def config(_options: argparse.Namespace) -> ExitCode:
    """The effective settings, each with where it came from."""
    from worker.settings import describe, render

    say(render(describe(load_settings(os.environ))))
    return ExitCode.DONE


def topics_create(options: argparse.Namespace) -> ExitCode:
    """Creates the topics that are missing."""
    from worker.kafka.topics import contract_topics, create_topics
    from worker.settings import admin_config

    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    specs = contract_topics(
        inputs=kafka.input_topics,
        verdicts=kafka.verdict_topic,
        alerts=kafka.alert_topic,
        dead_letters=kafka.dead_letter_topic,
        partitions=options.partitions,
        replication_factor=options.replication_factor,
    )
    for state in create_topics(admin_config(kafka), specs):
        say(str(state))
    return ExitCode.DONE


def model_fetch(options: argparse.Namespace) -> ExitCode:
    """Downloads model and tokenizer into one folder that works offline."""
    from worker.classifier import fetch

    given = load_settings(os.environ).settings.model
    fetch(
        options.name,
        options.folder,
        say,
        revision=given.revision,
        tokenizer=given.tokenizer,
        tokenizer_revision=given.tokenizer_revision,
    )
    return ExitCode.DONE


def broker(options: argparse.Namespace) -> ExitCode:
    """A real single-node Kafka in the foreground."""
    from worker.commands.broker.embedded import serve

    serve(port=options.port, data_dir=options.data_dir, stop=threading.Event(), say=say)
    return ExitCode.DONE


def classify(options: argparse.Namespace) -> ExitCode:
    """Judges texts, or with --jsonl messages, a line each; needs no Kafka."""
    from rich.console import Console

    from worker import wiring
    from worker.commands.classify import (
        InputLine,
        LineJudge,
        Readable,
        judge_lines,
        lines_of,
        read_lines,
        show_texts,
    )
    from worker.moderation.cache import ScoreCache
    from worker.moderation.policy import Policy

    laid_over = {"WORKER_MODEL__PATH": options.model, "WORKER_POLICY__THRESHOLD": options.threshold}
    environ = {**os.environ, **{variable: text for variable, text in laid_over.items() if text is not None}}
    settings = _load({Need.MODEL}, environ).settings
    classifier = wiring.open_classifier(settings, _progress)
    shape, policy = wiring.input_shape(settings), settings.policy
    judge = LineJudge(
        model=classifier,
        shape=shape if options.jsonl else replace(shape, format="text"),
        characters_max=settings.input.characters_max,
        cache=ScoreCache(bytes_max=settings.cache.bytes_max),
    )
    if options.text:
        lines: Iterable[Sequence[InputLine]] = [lines_of(options.text)]
    else:
        source = cast("Readable", sys.stdin.buffer)  # declared as what any binary stream can do
        lines = read_lines(source, bytes_max=shape.bytes_max, lines_max=settings.batch.records_max)
    if options.jsonl:
        outputs = wiring.outputs_of(settings, classifier)
        good = judge_lines(lines, sys.stdout.buffer, judge=judge, outputs=outputs, now=wiring.now_rfc3339)
    else:
        thresholds = Policy.of(policy.threshold, policy.thresholds)
        good = show_texts(lines, Console(highlight=False), judge=judge, policy=thresholds)
    return ExitCode.DONE if good else ExitCode.OTHER


def check(_options: argparse.Namespace) -> ExitCode:
    """Says whether `run` would work here, and how fast; changes nothing."""
    from rich.console import Console

    from worker.commands.check import check as look

    code = look(lambda: _load({Need.KAFKA, Need.MODEL}), Console(highlight=False), _progress)
    end(code)  # a client whose broker does not answer may not let itself be closed
    return code


def bench(options: argparse.Namespace) -> ExitCode:
    """Measures what this machine does with this model, and says what limits it; needs no Kafka."""
    from rich.console import Console

    from worker.commands.bench import run as measure

    settings = _load({Need.MODEL}).settings
    measure(
        settings,
        Console(highlight=False),
        _progress,
        texts_from=options.texts,
        seconds=options.seconds,
        json_to=options.json,
    )
    return ExitCode.DONE


def dead_letters(options: argparse.Namespace) -> ExitCode:
    """What could not be judged: counts by reason and hour, and where examples stand; only reads."""
    from rich.console import Console

    from worker.commands.dead_letters import parse_since, show, tally_of
    from worker.settings import admin_config

    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    now_ms = time.time_ns() // 1_000_000
    since_ms = parse_since(options.since, now_ms)
    tally = tally_of(
        admin_config(kafka),
        kafka.dead_letter_topic,
        since_ms=since_ms,
        now_ms=now_ms,
        reason=options.reason,
        examples_max=options.examples,
        progress=_progress,
    )
    look_with = f"kafka-console-consumer.sh --bootstrap-server {kafka.bootstrap_servers}"
    if kafka.security_protocol != "PLAINTEXT":
        look_with += " --consumer.config client.properties"
    show(tally, Console(highlight=False), topic=kafka.dead_letter_topic, since_ms=since_ms, look_with=look_with)
    return ExitCode.DONE


def demo(_options: argparse.Namespace) -> ExitCode:
    """A trial run on a Kafka of its own, with one worker killed on the way; about half a minute."""
    from worker.commands.demo.command import run as trial

    return trial()


def prove(options: argparse.Namespace) -> ExitCode:
    """Injects faults into workers of its own, and shows that no message was lost or judged twice.

    On the cluster that the settings name, with topics and a group of its own that are removed at the end; when they
    name none, on the embedded Kafka, whose broker is then killed and restarted as well.
    """
    from rich.console import Console

    from worker.commands.prove.command import run as run_proof

    code = run_proof(
        os.environ,
        Console(highlight=False),
        seconds=options.seconds,
        seed=options.seed,
        workers=options.workers,
        per_second=options.per_second,
        picture=options.picture,
    )
    end(code)  # its clients have met brokers that went away: one may not let itself be closed
    return code


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}; wants a whole number from 1 to {SECONDS_MAX}")
    return int(text)


def _progress(line: str) -> None:
    """A line about what takes long, for whoever watches."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - to people


def _load(needs: set[Need], environ: Mapping[str, str] = os.environ) -> Loaded:
    """The settings, and the log as they want it."""
    from worker.logs import setup_logging

    loaded = load_settings(environ, needs)
    setup_logging(loaded.settings.log.level, loaded.settings.log.format, sys.stderr)
    for warning in loaded.warnings:
        logging.getLogger("worker").warning(warning)
    return loaded


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moderation-worker",
        description="Moderates live chat on Apache Kafka with the DuoGuard classifier, exactly once.",
        epilog="Settings are environment variables: each command's --help names its own.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str,
        command: Command,
        *groups: str,
        under: "argparse._SubParsersAction[argparse.ArgumentParser] | None" = None,
    ) -> argparse.ArgumentParser:
        about = (command.__doc__ or "").splitlines()[0]
        made = (under or commands).add_parser(
            name,
            help=about,
            description=about,
            epilog=variables_for(*groups) if groups else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=command)
        return made

    of_run = (
        "kafka",
        "input",
        "model",
        "batch",
        "policy",
        "alert",
        "output",
        "cache",
        "dead_letter",
        "shutdown",
        "health",
        "log",
    )
    add("run", run, *of_run)
    add("config", config, *of_run)
    topics = commands.add_parser("topics", help="Creates the topics.").add_subparsers(
        required=True, metavar="create"
    )
    create = add("create", topics_create, "kafka", under=topics)
    create.add_argument("--partitions", type=int, default=6, help="of each topic (default: 6)")
    create.add_argument("--replication-factor", type=int, default=-1, help="default: the broker's own")
    model = commands.add_parser("model", help="Fetches a model.").add_subparsers(required=True, metavar="fetch")
    fetch = add("fetch", model_fetch, "model", under=model)
    fetch.add_argument("name", help="such as DuoGuard/DuoGuard-0.5B")
    fetch.add_argument("folder", type=Path)
    kafka = add("broker", broker)
    kafka.add_argument("--port", type=int, help="default: a free one")
    kafka.add_argument("--data-dir", type=Path, help="kept; default: a temporary one, removed at the end")
    classified = add("classify", classify, "model", "policy", "input", "batch", "cache")
    what = classified.add_mutually_exclusive_group()
    what.add_argument("text", nargs="*", default=[], metavar="TEXT", help="default: standard input, a text a line")
    what.add_argument("--jsonl", action="store_true", help="standard input: messages; standard output: verdicts")
    classified.add_argument("--model", help="instead of WORKER_MODEL__PATH")
    classified.add_argument("--threshold", help="instead of WORKER_POLICY__THRESHOLD")
    add("check", check, "kafka", "model")
    measured = add("bench", bench, "model", "input", "batch")
    measured.add_argument(
        "--texts", type=Path, metavar="FILE", help="a text a line, or a message a line as JSON; gzipped or not"
    )
    measured.add_argument(
        "--seconds", type=_seconds, default=20, metavar="S", help="how long to measure (default: 20)"
    )
    measured.add_argument("--json", type=Path, metavar="FILE", help="takes the figures as JSON too")
    letters = add("dead-letters", dead_letters, "kafka")
    letters.add_argument("--since", default="24h", help="90m, 24h, 7d, or an RFC 3339 time (default: 24h)")
    letters.add_argument("--reason", choices=[*REASONS, "foreign"], metavar="SLUG", help="only this one")
    letters.add_argument("--examples", type=int, default=3, metavar="N", help="of each reason (default: 3)")
    add("demo", demo)
    proof = add("prove", prove, "kafka")
    proof.add_argument("--seconds", type=int, default=120, help="how long faults are injected (default: 120)")
    proof.add_argument("--seed", type=int, help="of the plan of faults; default: any, and printed")
    proof.add_argument("--workers", type=int, default=3, choices=range(2, 6), help="at the beginning (default: 3)")
    proof.add_argument("--per-second", type=int, default=500, metavar="N", help="messages (default: 500)")
    proof.add_argument("--picture", type=Path, help="the timeline as SVG; default: proof-SEED.svg")
    return parser
