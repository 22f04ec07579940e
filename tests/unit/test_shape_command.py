"""`shape` on files: the built-in shapes, what a shape makes of events, and which shape fits."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import main
from worker.commands.shape.guess import fits
from worker.commands.shape.samples import SampleRecord, samples_of_file
from worker.errors import ConfigurationError, ExitCode
from worker.kafka.topic_reader import shares
from worker.moderation.shapes import builtin_shapes, shape_source

EVENTS = Path(__file__).parents[1] / "events"
PLATFORMS = sorted(path.stem for path in EVENTS.glob("*.json") if "+" not in path.stem)


def documented(platform: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((EVENTS / f"{platform}.json").read_bytes())["events"]
    return [one for one in found if "event" in one]


def file_of(tmp_path: Path, *events: object) -> str:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)) + "\n")
    return str(path)


def test_the_list_names_every_built_in_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shape", "list"]) is ExitCode.DONE
    words = capsys.readouterr().out.split()
    assert {*builtin_shapes()} <= {*words}


def test_a_built_in_shape_is_shown_as_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shape", "show", "discord"]) is ExitCode.DONE
    assert capsys.readouterr().out.rstrip() == shape_source("discord").rstrip()


def test_an_unknown_shape_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean .*discord"):
        main(["shape", "show", "discrod"])


def test_a_trial_shows_texts_ids_reasons_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [{"text": "hello\x1b[2J", "message_id": 7}, {"text": ""}, {"text": " "}]
    assert main(["shape", "try", "plain", file_of(tmp_path, *events)]) is ExitCode.DONE
    shown = capsys.readouterr().out
    assert "hello\\x1b[2J" in shown
    assert "message 7" in shown
    assert "\x1b" not in shown
    assert "events 3: 1 judged, 1 no_text, 1 blank" in shown


def test_a_refused_event_is_named_and_gives_the_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shape", "try", "plain", file_of(tmp_path, {"text": "a"}, {"body": "b"})]) is ExitCode.OTHER
    shown = capsys.readouterr().out
    assert "events 2: 1 judged, 1 refused" in shown
    assert "refused 1: no_text: There is no text at /text." in shown


def test_a_file_of_ones_own_is_tried_with_its_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = tmp_path / "mine.yaml"
    shape.write_text("schema: shape/1\ntext: [/body]\nmarkup: html\nwhere: [{at: /kind, in: [chat]}]\n")
    events = [{"kind": "chat", "body": "<b>hi</b>"}, [{"kind": "chat", "body": "x"}, {"kind": "join"}]]
    assert main(["shape", "try", str(shape), file_of(tmp_path, *events)]) is ExitCode.DONE
    shown = capsys.readouterr().out
    assert "a reader sees: hi" in shown
    assert "2#1" in shown
    assert "events 3: 2 judged, 1 skipped" in shown


def test_a_wrong_file_is_refused_with_line_and_column(tmp_path: Path) -> None:
    shape = tmp_path / "mine.yaml"
    shape.write_text("schema: shape/1\ntext: [/body]\ncolour: red\n")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml:3:1: .*colour"):
        main(["shape", "try", str(shape), file_of(tmp_path, {})])


def test_one_document_over_several_lines_is_one_event(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"text": "a"}, indent=2))
    assert len(samples_of_file(str(path))) == 1


def test_a_file_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.jsonl can't be read"):
        main(["shape", "try", "plain", str(tmp_path / "nothing.jsonl")])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_shape_that_fits_documented_events_best_is_the_platforms_own(platform: str) -> None:
    samples = [SampleRecord(place="1", value=json.dumps(one["event"]).encode()) for one in documented(platform)]
    assert fits(samples)[0].shape == platform
    assert fits(samples)[0].envelope is None


def test_an_envelope_is_guessed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"schema": None, "payload": {"text": "a", "message_id": "1"}}
    assert main(["shape", "guess", file_of(tmp_path, event, event)]) is ExitCode.DONE
    assert "best: WORKER_INPUT__SHAPE=plain WORKER_INPUT__ENVELOPE=connect" in capsys.readouterr().out


def test_events_that_no_shape_reads_give_the_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shape", "guess", file_of(tmp_path, {"words": "hello"})]) is ExitCode.OTHER
    assert "No built-in shape reads a text in any of the events (1)" in capsys.readouterr().out


@given(available=st.lists(st.integers(0, 50), max_size=8), total=st.integers(0, 200))
def test_the_newest_records_are_taken_evenly_from_the_partitions(available: list[int], total: int) -> None:
    taken = shares(available, total)
    assert sum(taken) == min(total, sum(available))
    assert all(0 <= count <= most for count, most in zip(taken, available, strict=True))
    spared = [count for count, most in zip(taken, available, strict=True) if count < most]
    assert not spared or max(taken) - min(spared) <= 1
