"""The trial run: a real Kafka, two workers, a few hundred messages, and a kill in the middle.

Both workers are the command that production runs, members of one group; they share the partitions. One is killed
with SIGKILL half-way. The other gets its partitions when the group has missed the dead one for the session
time-out, and judges what the dead one had in hand: its open transaction was never committed.
"""

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from confluent_kafka.admin import AdminClient
from rich.console import Console

from worker.commands.broker.embedded import running_broker
from worker.commands.demo.scenario import Kill, Play
from worker.commands.demo.view import Screen, screen, seconds
from worker.commands.ledger import Ledger, audit
from worker.commands.ledger_reader import read_topics
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode
from worker.kafka.reading import open_reader
from worker.kafka.topics import create_topics

MESSAGES = Path(__file__).with_name("messages.jsonl")
ELSEWHERE = "TEST_KAFKA_BOOTSTRAP_SERVERS"
SETTINGS: Mapping[str, str] = {
    "WORKER_MODEL__PATH": "demo",
    "WORKER_MODEL__DEVICE": "cpu",  # the bundled model is small: the same trial on every machine
    "WORKER_MODEL__THREADS": "1",  # two workers share it
    # A worker that dies in mid-transaction keeps its partitions' readers waiting for this long.
    "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS": "2000",
    "WORKER_LOG__FORMAT": "text",
}
BROKER = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""How often it looks for transactions that outlived their time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the trial takes place."""

    bootstrap_servers: str
    session_timeout_ms: int
    names: KafkaNames


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the trial is the same for everyone."""


def run(_options: argparse.Namespace) -> ExitCode:
    """The whole of it, on standard output.

    Raises:
        FatalError: No Kafka, or a worker ended that should not have.
    """
    # SIGTERM ends it as Ctrl-C does; SIGKILL leaves nothing behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # samples in a dozen scripts, whatever the locale
    console = Console(force_terminal=sys.stdout.isatty())  # FORCE_COLOR alone makes no terminal
    began_ns = time.monotonic_ns()

    def step(sentence: str) -> None:
        elapsed_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        Screen(console, None).say(f"{seconds(elapsed_ms)}  {sentence}")

    values = MESSAGES.read_bytes().splitlines()
    with cluster(step) as place, temporary_folder() as folder:
        kill = played(place, folder, values, SETTINGS, console=console, step=step)
        step("Reading all topics again, from the first record, at read_committed ...")
        client_config = {"bootstrap.servers": place.bootstrap_servers}
        ledger = audit(*read_topics(client_config, inputs=[place.names.input], outputs=place.names.outputs))
    end = Screen(console, None)
    end.say(f"\n{ledger}; {outcome(kill)}", "bold green" if ledger.clean else "bold red")
    for example in ledger.examples:
        end.say(f"  {example}")
    end.say(what_next())
    return exit_code(ledger, kill)


@contextmanager
def cluster(step: Callable[[str], None]) -> Iterator[Cluster]:
    """The bundled Kafka, or the one that is named for tests, with topics for this trial alone."""
    elsewhere = os.environ.get(ELSEWHERE)
    if not elsewhere:
        with running_broker(extra_properties=BROKER, progress=step) as broker:
            # A heartbeat comes five times in it: enough for a busy machine, and the takeover can be watched.
            place = Cluster(
                bootstrap_servers=broker.bootstrap_servers,
                session_timeout_ms=1500,
                names=KafkaNames.with_prefix(""),
            )
            _make_topics(place, step)
            yield place
        return
    step(f"Using the Kafka at {elsewhere}, as {ELSEWHERE} says.")
    # Source of 6000: Kafka's default of group.min.session.timeout.ms.
    names = KafkaNames.with_prefix(f"demo-{secrets.token_hex(4)}.")
    place = Cluster(bootstrap_servers=elsewhere, session_timeout_ms=6000, names=names)
    _make_topics(place, step)
    try:
        yield place
    finally:
        admin = AdminClient({"log_level": 0, "bootstrap.servers": elsewhere})
        for answer in admin.delete_topics(names.topics).values():
            answer.exception()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """For the workers. When this process is killed, their guards remove it."""
    folder = Path(tempfile.mkdtemp(prefix="moderation-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def two_workers(place: Cluster, folder: Path, settings: Mapping[str, str]) -> Iterator[list[WorkerSubprocess]]:
    """Started together; none is left at the end."""
    workers: list[WorkerSubprocess] = []
    # They see none of our settings: the trial is the same for everyone.
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith("WORKER_")}
    try:
        for name in ("worker-1", "worker-2"):
            own = {
                **place.names.settings,
                "WORKER_KAFKA__BOOTSTRAP_SERVERS": place.bootstrap_servers,
                "WORKER_KAFKA__CLIENT_ID": name,
                "WORKER_KAFKA__TRANSACTIONAL_ID": f"{place.names.group}.{name}",
                "WORKER_KAFKA__SESSION_TIMEOUT_MS": str(place.session_timeout_ms),
            }
            workers.append(
                WorkerSubprocess(name=name, folder=folder / name, environ={**environ, **settings, **own})
            )
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def played(
    place: Cluster,
    folder: Path,
    values: Sequence[bytes],
    settings: Mapping[str, str],
    *,
    console: Console,
    step: Callable[[str], None],
) -> Kill | None:
    """From two workers that start to the one that is left and drains.

    Raises:
        ScenarioError: A worker ended that should not have.
    """
    client_config = {"bootstrap.servers": place.bootstrap_servers}
    names = place.names
    with (
        two_workers(place, folder, settings) as workers,
        open_reader(client_config, list(names.outputs.values())) as reader,
        closing(
            Play(messages=values, names=names, workers=workers, client_config=client_config, reader=reader)
        ) as play,
    ):
        step("Starting two workers; each loads PyTorch and the model ...")
        with console.status("waiting for both to join the group"):
            owners = play.await_group()
        step(f"{owners}.")
        step(f"Feeding {len(values)} messages; one worker will be killed. The clock starts anew.")
        with screen(console) as shown:
            play.run(shown)
        play.drain()
        return play.kill


def exit_code(ledger: Ledger, kill: Kill | None) -> ExitCode:
    """Whether it showed what it is there to show."""
    return ExitCode.DONE if ledger.clean and kill is not None else ExitCode.OTHER


def outcome(kill: Kill | None) -> str:
    """The end of the ledger's line."""
    if kill is None:
        return "nobody was killed: too little was judged"
    killed = f"killed at {kill.at_ms / 1000:.1f} s"
    if kill.again_ms is None:
        return f"{killed}, and not judging again"
    return f"{killed}, judging again {(kill.again_ms - kill.at_ms) / 1000:.1f} s later"


def what_next() -> str:
    """How to go on from here."""
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


def _make_topics(place: Cluster, step: Callable[[str], None]) -> None:
    states = create_topics({"bootstrap.servers": place.bootstrap_servers}, place.names.specs)
    step(f"Created {len(states)} topics of {states[0].partitions} partitions.")
