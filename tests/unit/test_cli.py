"""The list of commands, and the two functions that the module of each command offers."""

import subprocess
import sys

import pytest

from worker.cli import COMMANDS, Command, main


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_has_a_module_that_explains_its_arguments(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: moderation-worker {command.name}")


def test_the_general_help_names_every_command_and_imports_none() -> None:
    code = """
import atexit, sys
from worker import cli
atexit.register(lambda: print("loaded", [name for name in sys.modules if name.startswith("worker.commands")]))
cli.main(["--help"])
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert all(f"    {command.name}" in shown for command in COMMANDS)
    assert shown.endswith("loaded []\n")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["classfy"])
    assert ended.value.code == 2
    assert "invalid choice: 'classfy'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        ("policy check x.yaml --agianst y.yaml", "policy check", ": --agianst y.yaml; did you mean --against?"),
        ("policy try x.yaml --verdicts v more --jsno=z", "policy try", ": more --jsno=z; did you mean --json?"),
        ("policy try x.yaml --verdicts v.jsonl --jsno=z", "policy try", ": --jsno=z; did you mean --json?"),
        ("policy check --jsno x.yaml", "policy check", ": --jsno\n"),
        ("policy --jsno show x.yaml", "policy", ": --jsno\n"),
        ("config extra", "config", ": extra\n"),
        ("--jsno config", "", ": --jsno\n"),
    ],
)
def test_an_unknown_option_is_refused_with_the_usage_of_its_command(
    arguments: str, usage: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"usage: moderation-worker {usage}".rstrip() + " [-h]")
    assert f"error: unrecognized arguments{said}" in shown
