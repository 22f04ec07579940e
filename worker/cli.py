"""The commands: each a few lines over the parts, which it imports when it runs."""
# ruff: noqa: PLC0415 - `run` must load nothing that it does not use, and `config` no torch

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.errors import ExitCode
from worker.settings import Loaded, Need, load_settings, variables_for
from worker.watchdog import Watchdog

Command = Callable[[argparse.Namespace], ExitCode]


def main(arguments: Sequence[str]) -> ExitCode:
    """Runs one command.

    Raises:
        Stop: What the command refuses, with the exit code.
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
    from worker import wiring

    wiring.run(loaded.settings, watchdog)
    return ExitCode.DONE


def config(_options: argparse.Namespace) -> ExitCode:
    """The effective settings, each with where it came from."""
    from worker.settings import describe, render

    say(render(describe(load_settings(os.environ))))
    return ExitCode.DONE


def topics_create(options: argparse.Namespace) -> ExitCode:
    """Creates the topics that are missing."""
    from worker.settings import admin_config
    from worker.topics import contract_topics, create_topics

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
    from worker.demo.broker import serve

    serve(port=options.port, data_dir=options.data_dir, stop=threading.Event(), say=say)
    return ExitCode.DONE


def demo(_options: argparse.Namespace) -> ExitCode:
    """A trial run on a Kafka of its own, with one worker killed on the way; about half a minute."""
    from worker.demo.trial import run as trial

    return trial()


def _load(needs: set[Need]) -> Loaded:
    """The settings, and the log as they want it."""
    from worker.logs import setup_logging

    loaded = load_settings(os.environ, needs)
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

    add("run", run, "kafka", "input", "model", "batch", "policy", "alert", "dead_letter", "shutdown", "log")
    add("config", config, "kafka", "input", "model", "batch", "policy", "alert", "dead_letter", "shutdown", "log")
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
    add("demo", demo)
    return parser
