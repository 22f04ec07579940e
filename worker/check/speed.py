"""How many messages a second this machine's model does."""

from collections.abc import Callable, Sequence
from typing import Protocol

from worker.preparing import Encode
from worker.records import Fault, Scores

LONG_ENOUGH_MS = 1000

SAMPLES = (
    "gg",
    "hello from Lisbon, first time here",
    "what a save!!! that was so close",
    "can someone tell me which keyboard this is?",
    "the sound is a bit low today, is it just me or does everybody have that?",
    "see you all tomorrow, same time, and thanks for the stream, it was a really nice evening",
    "Guten Abend zusammen, läuft der Bot schon?",
    "¿a qué hora empieza mañana?",
    "merci beaucoup, c'était super",
    "всем привет, как дела",
    "今日の配信も楽しかったです",
    "안녕하세요, 처음 왔어요",
    "lol",
    "I made the soup from last week's recipe and it came out great, only a little more salt next time",
    "wait, go back two minutes, I missed how you did the second part with the blue wire",
    "12 wins in a row, nice",
)
"""Chat as it is: short, mild, of several languages."""


class Model(Protocol):
    """What is measured."""

    @property
    def encode(self) -> Encode:
        """The tokenizer."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores | Fault]:
        """The forward pass."""


def messages_per_second(model: Model, clock: Callable[[], int]) -> float:
    """Messages tokenised and scored a second, without decoding and publishing, which take little beside it.

    The number of messages doubles until a round lasts a second; the best of at least two rounds counts, so that
    neither the first one's surprises nor the machine's other work are taken for the model.

    Args:
        model: Warm.
        clock: Monotonic milliseconds.
    """
    texts = list(SAMPLES)
    rates: list[float] = []
    while True:
        began_ms = clock()
        model.score([encoded.tokens for encoded in model.encode(texts)])
        took_ms = max(1, clock() - began_ms)
        rates.append(len(texts) * 1000 / took_ms)
        if took_ms < LONG_ENOUGH_MS:
            texts *= 2
        elif len(rates) > 1:
            return max(rates)
