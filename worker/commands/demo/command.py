"""The command `demo`: a real Kafka, two workers, a few hundred messages, a raid, and a kill half-way.

Both workers are the command that production runs, and members of one group that share the partitions. One worker is
killed with SIGKILL. When its session has timed out, the other worker gets its partitions, and judges the messages
that the killed worker had read: the killed worker's open transaction was never committed. The kill comes in the
middle of the raid, so the other worker goes on counting the raid's messages where the last commit was.
"""

import argparse
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from rich.console import Console

from worker.commands.broker.embedded import Broker, running_broker
from worker.commands.demo.partition_owners import worker_name
from worker.commands.demo.sample import demo_messages
from worker.commands.demo.scenario import KilledWorker, run_scenario
from worker.commands.demo.view import Screen, seconds
from worker.commands.ledger import Ledger, audit
from worker.commands.ledger_reader import read_topics
from worker.commands.prove.environment import Environment, isolated_environment
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode

ELSEWHERE = "TEST_KAFKA_BOOTSTRAP_SERVERS"
SETTINGS: Mapping[str, str] = {
    "WORKER_MODEL__PATH": "demo",
    "WORKER_MODEL__DEVICE": "cpu",  # the bundled model is small, and the demo is the same on every machine
    "WORKER_MODEL__THREADS": "1",  # two workers share the machine
    "WORKER_POLICY__PATH": str(Path(__file__).with_name("policy.yaml")),
    "WORKER_INPUT__SHAPE": str(Path(__file__).with_name("shape.yaml")),
    # Readers of a partition wait for this long when a worker dies in the middle of a transaction.
    "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS": "2000",
    "WORKER_LOG__FORMAT": "text",
}
SESSION_TIMEOUT_MS_EMBEDDED = 1500
"""Five heartbeats: enough for a busy machine, and short enough to watch the takeover."""
SESSION_TIMEOUT_MS_ELSEWHERE = 6000  # Source: Kafka's default of group.min.session.timeout.ms
BROKER = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""How often the broker looks for transactions that have timed out."""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the demo is the same for everyone."""


def run(_options: argparse.Namespace) -> ExitCode:
    """Run the demo, on standard output.

    Raises:
        FatalError: There is no Kafka, or a worker ended by itself.
    """
    # SIGTERM ends the demo as Ctrl-C does. After SIGKILL nothing remains either: see die_with_parent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the samples have a dozen scripts; the locale may lack some
    console = Console(force_terminal=sys.stdout.isatty())  # FORCE_COLOR alone must not turn a pipe into a terminal
    began_ns = time.monotonic_ns()

    def step(sentence: str) -> None:
        elapsed_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        Screen(console, None).say(f"{seconds(elapsed_ms)}  {sentence}")

    messages = demo_messages()
    with demo_environment(SETTINGS, step) as environment:
        result = run_scenario(environment, messages, console=console, step=step)
        end = Screen(console, None)
        # Without a time: the clock of the feeding began later than the one of ``step``.
        end.say("\nReading all topics again, from the first record, at read_committed ...")
        names = environment.names
        ledger = audit(*read_topics(environment.client, inputs=[names.input], outputs=names.outputs))
    end.say(f"\n{ledger}; {outcome(result.killed)}", "bold green" if ledger.clean else "bold red")
    for example in ledger.examples:
        end.say(f"  {example}")
    end.say(result.decisions.sentence())
    end.say(next_steps())
    return exit_code(ledger, result.killed)


@contextmanager
def demo_environment(settings: Mapping[str, str], step: Callable[[str], None]) -> Iterator[Environment]:
    """Yield topics and workers on the bundled Kafka, or on the Kafka that an environment variable names for tests.

    Args:
        settings: Environment variables of the workers.
        step: Prints a line with the time.

    Raises:
        KafkaFatalError: No Kafka answers.
    """
    elsewhere = os.environ.get(ELSEWHERE)
    if elsewhere:
        step(f"Using the Kafka at {elsewhere}, as {ELSEWHERE} says.")
        settings = {**settings, "WORKER_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS_ELSEWHERE)}
        names = KafkaNames.with_prefix(f"demo-{secrets.token_hex(4)}.")
        with _environment(elsewhere, names, None, settings, step) as environment:
            yield environment
        return
    with running_broker(extra_properties=BROKER, progress=step) as broker:
        settings = {**settings, "WORKER_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS_EMBEDDED)}
        names = KafkaNames.with_prefix("")
        with _environment(broker.bootstrap_servers, names, broker, settings, step) as environment:
            yield environment


@contextmanager
def _environment(
    servers: str, names: KafkaNames, broker: Broker | None, settings: Mapping[str, str], step: Callable[[str], None]
) -> Iterator[Environment]:
    # The workers do not get the user's settings: the demo is the same for everyone.
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith("WORKER_")}
    environ.update({**names.settings, **settings, "WORKER_KAFKA__BOOTSTRAP_SERVERS": servers})

    def start_in(folder: Path, slot: int) -> WorkerSubprocess:
        name = worker_name(slot)
        ids = {
            "WORKER_KAFKA__CLIENT_ID": name,
            "WORKER_KAFKA__TRANSACTIONAL_ID": f"{names.group}.{name}",
        }
        return WorkerSubprocess(name=name, folder=folder, environ={**environ, **ids})

    client = {"bootstrap.servers": servers}
    with isolated_environment(f"the Kafka at {servers}", client, names, broker, start_in) as environment:
        step(f"Created {len(names.specs)} topics of {names.specs[0].partitions} partitions.")
        yield environment


def exit_code(ledger: Ledger, killed: KilledWorker | None) -> ExitCode:
    """Return DONE if the demo showed what it is for: a kill, and nothing lost or doubled."""
    return ExitCode.DONE if ledger.clean and killed is not None else ExitCode.OTHER


def outcome(killed: KilledWorker | None) -> str:
    """Return the end of the ledger's line."""
    if killed is None:
        return "no worker was killed: too few messages were judged"
    at = f"killed at {killed.at_ms / 1000:.1f} s"
    if killed.judged_again_ms is None:
        return f"{at}, and not judging again"
    return f"{at}, judging again {(killed.judged_again_ms - killed.at_ms) / 1000:.1f} s later"


def next_steps() -> str:
    """Return what the user can do next."""
    command = "moderation-worker"
    if shutil.which(command) is None:
        command = os.path.relpath(Path(sys.executable).with_name(command))
    return f"""
The bundled model is a toy: good for a trial, not for moderation. To judge with
DuoGuard-0.5B, on the Kafka that WORKER_KAFKA__BOOTSTRAP_SERVERS names:

  export WORKER_MODEL__PATH=DuoGuard/DuoGuard-0.5B
  {command} run

A Kafka like this one, for experiments: {command} broker
README.md goes on from there."""
