import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from rich.console import Console

from worker.commands.demo import command
from worker.commands.demo.scenario import run_scenario
from worker.commands.prove.processes import UnexpectedExitError
from worker.errors import ExitCode, KafkaFatalError

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

END_S_MAX = 60
LEDGER = re.compile(
    r"^in 341, verdicts 337, dead letters 4, lost 0, doubled 0; counted instead of alerts 39; "
    r"killed at \d+\.\d s, judging again \d+\.\d s later$",
    re.MULTILINE,
)

POLICY = re.compile(
    r"^flagged by level: (review \d+, remove \d+|remove \d+, review \d+); exempt as moderators: 1; "
    r"alerts about one message: \d+; one alert with the count 39, for a raid$",
    re.MULTILINE,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with settings of the user, which the demo must not use."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".env").write_text("WORKER_MODEL__PATH=/no/such/model\n")
    return folder


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for all that the demo writes, empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def start(home: Path, temporary: Path) -> subprocess.Popen[str]:
    users = {"WORKER_KAFKA__GROUP_ID": "the-users", "WORKER_NO_SUCH": "setting"}
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "demo"],
        cwd=home,
        env={**os.environ, **users, "TMPDIR": str(temporary), "FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_worker_is_killed_and_nothing_is_lost_or_doubled(home: Path, temporary: Path) -> None:
    printed, errors = start(home, temporary).communicate()
    assert errors == ""
    assert LEDGER.search(printed), printed
    order = ["Starting two workers", "  1.0 s  in ", "SIGKILL to worker-", "judged again", "in 341", "toy"]
    places = [printed.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)
    assert re.search(r"last alert: [A-Z][a-z -]+ 0\.\d\d", printed)
    assert POLICY.search(printed), printed
    assert "export WORKER_MODEL__PATH=DuoGuard/DuoGuard-0.5B" in printed
    assert "\x1b" not in printed
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_demo_that_is_stopped(home: Path, temporary: Path, number: signal.Signals) -> None:
    process = start(home, temporary)
    assert process.stdout is not None
    assert any("The clock starts anew" in line for line in process.stdout)
    process.send_signal(number)
    _, errors = process.communicate(timeout=END_S_MAX)
    assert process.returncode == (-number if number == signal.SIGKILL else ExitCode.OTHER)
    assert errors == ""
    # The launchers remove the folders when the workers and the broker have ended.
    deadline = time.monotonic() + END_S_MAX
    while list(temporary.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_fails_shows_the_end_of_its_log(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(command.ELSEWHERE, bootstrap_servers)
    broken = {**command.SETTINGS, "WORKER_MODEL__PATH": str(tmp_path / "no-such-model")}
    console = Console(file=io.StringIO())
    with (
        command.demo_environment(broken, lambda _sentence: None) as environment,
        pytest.raises(
            UnexpectedExitError, match=r"(?s)worker-\d ended with exit code 4; its log ends:.*no-such-model"
        ),
    ):
        run_scenario(environment, [b"{}"], console=console, step=lambda _sentence: None)
    admin, deadline = AdminClient({"bootstrap.servers": bootstrap_servers}), time.monotonic() + END_S_MAX
    while (
        environment.names.input in admin.list_topics(timeout=10).topics
    ):  # the brokers learn it after the controller
        assert time.monotonic() < deadline


def test_without_a_kafka_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(command.ELSEWHERE, raising=False)
    with (
        pytest.raises(KafkaFatalError, match=command.ELSEWHERE),
        command.demo_environment(command.SETTINGS, lambda _line: None),
    ):
        pass
