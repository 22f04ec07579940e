"""What a person reads after a typical mistake: what happened, where, and what to do."""

from pathlib import Path

import pytest

from tests.stored_verdicts import stored_verdict, write_verdicts
from worker import wiring
from worker.cli import main
from worker.errors import ConfigurationError, ExitCode
from worker.settings import Need, Settings, load_settings

FILES = {
    "policy.yaml": "schema: policy/1\nlevels: [flag]\nthresholds: {default: {flag: 0.5}}\n",
    "open.yaml": "schema: policy/1\nlevels: [flag\n",
    "category.yaml": "schema: policy/1\nlevels: [flag]\nthresholds: {default: {flag: 0.5}, violense: {flag: 0}}\n",
    "shape.yaml": "schema: shape/1\ntexxt: [/a]\n",
    "blank.jsonl": "\n",
    "words.jsonl": "not JSON\n",
    "list.jsonl": '{"text": "a", "labels": ["hate"]}\n',
    "label.jsonl": '{"text": "a", "labels": {"violense": true}}\n',
    "bare.jsonl": '{"text": "a"}\n',
}

MISTAKES = {
    "policy check missing.yaml": ("the policy file missing.yaml can't be read (No such file", "name a YAML file"),
    "policy check open.yaml": ("open.yaml:3:1: not YAML",),
    "policy check category.yaml": ("category.yaml:3:36: unknown category 'violense'", "the categories are"),
    "policy check policy.yaml --against missing.yaml": ("the policy file missing.yaml can't be read",),
    "policy try policy.yaml --verdicts missing.jsonl": ("missing.jsonl can't be read (No such file", "name a file"),
    "shape show discrod": (
        "'discrod' is not the name of a built-in shape; did you mean 'discord'?",
        "wants one of",
    ),
    "shape try missing.yaml words.jsonl": (
        "the shape file missing.yaml can't be read (No such",
        "name a YAML file",
    ),
    "shape try shape.yaml words.jsonl": ("shape.yaml:2:1: unknown key 'texxt'; did you mean 'text'?",),
    "shape try plain missing.jsonl": ("the file missing.jsonl can't be read (No such file", "an event a line"),
    "shape guess blank.jsonl": ("the file blank.jsonl holds no event", "name a file"),
    "evaluate missing.jsonl": ("missing.jsonl can't be read (No such file", "name a file with labelled texts"),
    "evaluate words.jsonl": ("words.jsonl:1: this line is not JSON; write an object a line",),
    "evaluate list.jsonl": ('list.jsonl:1: "labels" wants an object of category slugs, such as {"hate": true}',),
    "evaluate label.jsonl": ("label.jsonl:1:", "unknown category 'violense'", "the categories are violent_crimes"),
    "evaluate bare.jsonl": ('bare.jsonl:1: wants "labels" or "unsafe", such as "unsafe": true',),
    "evaluate blank.jsonl": ("blank.jsonl holds no labelled text in the format jsonl", "another --format"),
    "evaluate --evasions blank.jsonl": ("blank.jsonl holds no text: name a file with a text a line",),
    "calibrate missing.jsonl --false-alarms 0.01": ("missing.jsonl can't be read", "name a file"),
    "compare good.jsonl missing.jsonl": ("missing.jsonl can't be read (No such file", "name a file with a verdict"),
    "compare good.jsonl words.jsonl": (
        "words.jsonl holds no verdict (schema verdict/1)",
        "name a file with a verdict",
    ),
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    write_verdicts(tmp_path / "good.jsonl", stored_verdict(1, {"hate": 0.9}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_MODEL__PATH", "demo")


@pytest.mark.parametrize(
    "command",
    [
        "dead-letters --since {}",
        "policy try policy.yaml --since {}",
        "policy check policy.yaml --since {}",
        "compare a-topic another-topic --since {}",
        "labels join --overturned decisions --write labelled.jsonl --since {}",
        "replay day --to copies --since {}",
        "replay day --to copies --since 1h --until {}",
    ],
)
def test_each_command_that_takes_a_time_refuses_one_in_the_future(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    option = command.split()[-2]
    with pytest.raises(ConfigurationError, match=rf"^{option}: got '2999-01-31T00:00:00Z', a time in the future; "):
        main(command.format("2999-01-31T00:00:00Z").split())


@pytest.mark.parametrize("command", MISTAKES)
def test_an_error_says_what_happened_where_and_what_to_do(command: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        main(command.split())
    for part in MISTAKES[command]:
        assert part in str(failed.value)


@pytest.mark.parametrize(
    "command",
    [
        "evaluate texts.jsonl --out nowhere/page.html",
        "evaluate texts.jsonl --json nowhere/report.json",
        "evaluate --evasions texts.jsonl --json nowhere/report.json",
        "calibrate texts.jsonl --false-alarms 0.01 --write nowhere/policy.yaml",
        "calibrate texts.jsonl --false-alarms 0.01 --reference nowhere/drift.json",
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_text_is_scored(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKER_MODEL__PATH")  # so nothing can be scored
    with pytest.raises(ConfigurationError, match=r"^nowhere/.* can't be written \(there is no such folder\): name"):
        main(command.split())


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("calibrate label.jsonl --false-alarms few", "a number between 0 and 1"),
        ("calibrate label.jsonl --precision 1", "a number between 0 and 1"),
        ("calibrate label.jsonl --precision 0.9 --positives-min 0", "a whole number, 1 or more"),
        ("evaluate --evasions texts.jsonl --texts-max 0", "a whole number, 1 or more"),
        ("shape try plain --topic chat --last 0", "a whole number, 1 or more"),
        ("policy try policy.yaml verdicts.jsonl --examples -1", "a whole number, 0 or more"),
        ("compare a b --examples 1.5", "a whole number, 0 or more"),
        ("dead-letters --examples -1", "a whole number, 0 or more"),
        ("prove --seconds 0", "a whole number, 1 or more"),
        ("prove --per-second 0", "a whole number, 1 or more"),
        ("bench --seconds 3601", "a whole number, 1 to 3600"),
        ("topics create --partitions 0", "a whole number, 1 or more"),
        ("topics create --replication-factor 0", "a whole number, 1 to 32767"),
        ("broker --port 65536", "a whole number, 1 to 65535"),
        ("replay chat --to again --per-second inf", "a number above 0"),
        ("replay chat --to again --per-second nan", "a number above 0"),
    ],
)
def test_an_option_out_of_its_range_is_refused_with_its_value(
    command: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code == ExitCode.CONFIGURATION
    *_, option, value = command.split()
    assert f"{option}: got '{value}'; wants {wanted}" in capsys.readouterr().err


def settings(**variables: str) -> Settings:
    return load_settings({"WORKER_MODEL__PATH": "demo", **variables}, {Need.MODEL}).settings


def test_a_shape_or_policy_that_a_variable_names_wrongly_is_refused_with_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^WORKER_INPUT__SHAPE: 'discrod' is not the name"):
        wiring.input_shape(settings(WORKER_INPUT__SHAPE="discrod"))
    missing = settings(WORKER_POLICY__PATH="missing.yaml")
    for load in (wiring.make_policy, wiring.open_policy):
        with pytest.raises(ConfigurationError, match=r"^WORKER_POLICY__PATH: .* missing\.yaml can't be read"):
            load(missing)


def test_a_fault_in_a_file_that_a_variable_names_begins_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"^category\.yaml:3:36: "):
        wiring.make_policy(settings(WORKER_POLICY__PATH="category.yaml"))


def test_stored_verdicts_without_any_verdict_say_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    main(["policy", "try", "policy.yaml", "--verdicts", "words.jsonl"])
    shown = capsys.readouterr().out
    assert "no verdict to decide again; records read 1" in shown
    assert "an earlier time (--since)" in " ".join(shown.split())


@pytest.mark.parametrize("command", ["run", "config"])
def test_the_help_of_the_worker_lists_every_group_of_settings(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert all(f"WORKER_{group.upper()}__" in shown for group in Settings.model_fields)
