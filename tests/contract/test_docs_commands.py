"""Every block of commands in the docs runs unchanged, on a new Kafka with the default names."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from safetensors.numpy import load_file, save_file

from tests.in_process_worker import joined_worker
from tests.kafka_tools import install_tools
from tests.pages import PAGES, ROOT, Fence, fences
from worker.classifier import Classifier
from worker.classifier.model_files import DEMO_MODEL
from worker.commands.broker.embedded import running_broker
from worker.kafka.topics import contract_topics, create_topics

COMMAND_S_MAX = 240  # a command that hangs; on a busy machine some take a minute
MESSAGES = (ROOT / "worker/commands/demo/messages.jsonl").read_bytes().splitlines()

# A worker that is asked to run gets SIGTERM as soon as it has partitions, unless it ends by itself.
WORKER = """\
import os, subprocess, sys

command = [sys.executable, "-m", "worker", *sys.argv[1:]]
if sys.argv[1:2] != ["run"] or "--until-end" in sys.argv:
    os.execv(command[0], command)
worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
for line in worker.stderr:
    print(line, end="")
    if "reading from: " in line:
        worker.terminate()
sys.exit(worker.wait())
"""

# Says what it would do: that there is such a target, and no more.
MAKE = """\
#!/bin/sh
exec {make} --dry-run --directory={root} "$@" >/dev/null
"""

PYTHON = """\
#!/bin/sh
exec {python} {script} "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a reader of the docs sits.

    Attributes:
        folder: The working directory: a sample of messages, two models, and the files that the pages name.
        environ: Names the Kafka, the bundled model, and the tools' folder.
    """

    folder: Path
    environ: Mapping[str, str]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, classifier: Classifier) -> Iterator[Desk]:
    """A Kafka on which a worker has judged the sample messages, and one that it could not read."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "sample.jsonl").write_bytes(b"".join(line + b"\n" for line in MESSAGES[:60]))
    (folder / "labelled.jsonl").write_text(labelled_texts())
    shutil.copytree(DEMO_MODEL, folder / "models/old")
    shutil.copytree(DEMO_MODEL, folder / "models/new")
    for name, content in named_files():
        (folder / name).write_text(content)
    weights = folder / "models/new/model.safetensors"
    changed = load_file(weights)
    changed["score.weight"] = -changed["score.weight"]  # so that the two disagree
    save_file(changed, weights, {"format": "pt"})
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WORKER_", "OTEL_", "MAKE", "MFLAGS"))
    }
    with running_broker() as broker:
        environ = {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "WORKER_MODEL__PATH": "demo",
            "WORKER_MODEL__DEVICE": "cpu",
            "WORKER_MODEL__THREADS": "1",
            "WORKER_BATCH__TOKENS_MAX": "4096",  # else a command that loads the model looks for the best
        }
        judge_the_sample(environ, classifier)
        path = f"{_tools(folder / 'bin')}{os.pathsep}{os.environ['PATH']}"
        yield Desk(folder=folder, environ={**inherited, **environ, "PATH": path, "PYTHONPATH": str(ROOT)})


def named_files() -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each YAML block that begins with a comment that names a file."""
    for page in PAGES:
        for fence in fences(page):
            if fence.language == "yaml" and (named := re.match(r"# ([\w-]+\.yaml)\n", fence.code)):
                yield named[1], fence.code


def labelled_texts() -> str:
    """Return made-up texts in two languages, of which each fifth is about bombs."""
    lines = [
        {
            "text": f"how do I make bomb {number} at home",
            "labels": {"indiscriminate_weapons": True},
            "language": "en",
        }
        if number % 5 == 0
        else {"text": f"good morning viewer {number}", "unsafe": False, "language": "de" if number % 2 else "en"}
        for number in range(400)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def judge_the_sample(environ: Mapping[str, str], classifier: Classifier) -> None:
    """Leaves verdicts, alerts, a dead letter, and the group's offsets."""
    client = {"bootstrap.servers": environ["WORKER_KAFKA__BOOTSTRAP_SERVERS"]}
    names = {
        "inputs": ["chat.messages"],
        "verdicts": "moderation.verdicts",
        "alerts": "moderation.alerts",
        "dead_letters": "moderation.dead-letters",
    }
    create_topics(client, contract_topics(**names, partitions=6))  # type: ignore[arg-type] # a list and three strings
    producer = Producer(client)
    for number, value in enumerate([*MESSAGES, b"not JSON"]):
        producer.produce("chat.messages", value, partition=number % 6)
    assert producer.flush(10) == 0
    with joined_worker(environ, classifier) as worker:
        worker.turn_until_judged(len(MESSAGES) + 1)


def _tools(folder: Path) -> Path:
    """Return a folder with the programs that the docs call by name: the worker, make, and Kafka's tools."""
    folder.mkdir()
    install_tools(folder)
    (folder / "worker.py").write_text(WORKER)
    words = {"python": shlex.quote(sys.executable), "root": shlex.quote(str(ROOT)), "make": shutil.which("make")}
    scripts = {
        "moderation-worker": PYTHON.format(script=shlex.quote(str(folder / "worker.py")), **words),
        "python": PYTHON.format(script="", **words),
        "make": MAKE.format(**words),
    }
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


FENCES = [
    fence for page in PAGES for fence in fences(page) if fence.holds_commands and fence.not_run_because is None
]


@pytest.mark.kafka
@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.place)
def test_the_commands_work_as_they_stand_there(fence: Fence, desk: Desk) -> None:
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", fence.code],
        cwd=desk.folder,
        env=desk.environ,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, said
    # Kafka's tools end with 0 all the same.
    assert not any(line.startswith("Error") for line in said.splitlines()), said
