"""What `check` says of the newest records of an input topic."""

import json
from pathlib import Path

import pytest

from worker.commands.check.newest_records import newest_records
from worker.commands.check.report import Doubtful
from worker.commands.shape.samples import SampleRecord
from worker.moderation.shapes import compile_shape, load_shape

PLAIN = compile_shape(load_shape("plain"))
EVENTS = Path(__file__).parents[1] / "events"


def samples(*values: object) -> list[SampleRecord]:
    return [SampleRecord(place=f"chat[0]@{n}", value=json.dumps(one).encode()) for n, one in enumerate(values)]


def test_a_topic_without_records_is_good() -> None:
    assert newest_records([], PLAIN, "chat") == "there are none yet"


def test_records_that_would_be_judged_are_good() -> None:
    values = [{"text": "a"}, {"text": ""}, {"text": "b"}]
    assert newest_records(samples(*values), PLAIN, "chat") == "of 3: 2 judged, 1 no_text"


def test_records_that_would_be_dead_letters_are_doubtful() -> None:
    with pytest.raises(Doubtful) as doubt:
        newest_records(samples({"text": "a"}, {"body": "b"}, {"body": "c"}), PLAIN, "chat")
    assert doubt.value.what == "of 3: 1 judged, 2 refused\n2 no_text: There is no text at /text."
    assert doubt.value.remedy == "moderation-worker shape try SHAPE --topic chat"


def test_the_shape_that_reads_more_of_the_records_is_named() -> None:
    documented = json.loads((EVENTS / "discord.json").read_bytes())["events"]
    with pytest.raises(Doubtful) as doubt:
        newest_records(samples(*(one["event"] for one in documented)), PLAIN, "chat")
    assert "discord reads a text in" in doubt.value.what
    assert doubt.value.remedy.startswith("WORKER_INPUT__SHAPE=discord; before that: ")


def test_a_topic_of_which_every_record_is_skipped_is_doubtful() -> None:
    read = compile_shape(load_shape("discord"))
    with pytest.raises(Doubtful) as doubt:
        newest_records(samples({"t": "TYPING_START"}, {"t": "TYPING_START"}), read, "chat")
    skipped = "2 The value at /t is not MESSAGE_CREATE or MESSAGE_UPDATE."
    assert doubt.value.what == f"of 2: 2 skipped\n{skipped}"
