import orjson
import pytest

from schemas.chat import ChatMessage
from worker.commands.prove.messages import EVENTS, messages_of
from worker.moderation.shapes import compile_shape, load_shape
from worker.records import Skipped
from worker.scores import DeadLetterReason


@pytest.mark.parametrize("shape", EVENTS)
def test_the_workers_read_what_a_proof_writes(shape: str) -> None:
    record, read = messages_of(shape), compile_shape(load_shape(shape))
    kinds = {number: value if (value := record(number).value) is None else read(value, ()) for number in range(100)}
    assert kinds.pop(7) is None
    assert isinstance(kinds.pop(23), DeadLetterReason)
    assert isinstance(kinds.pop(73), DeadLetterReason)
    array = kinds.pop(89)
    assert isinstance(array, tuple)
    assert [type(item) for item in array] == [ChatMessage, DeadLetterReason, ChatMessage]
    assert isinstance(kinds[57], ChatMessage if EVENTS[shape].skipped is None else Skipped)
    texts = {number: one.text for number, one in kinds.items() if isinstance(one, ChatMessage)}
    assert texts.pop(41).isspace()
    assert all(text == f"message {number}" for number, text in texts.items())
    assert len(texts) == 94 + (EVENTS[shape].skipped is None)


def test_the_channel_of_a_message_is_in_its_event() -> None:
    [channels] = [{orjson.loads(messages_of("plain")(number).value or b"")["channel_id"] for number in range(3)}]
    assert channels == {0, 1, 2}
