"""Score texts by the parts that the worker uses, each distinct text once, with a progress bar and a score file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schemas.labels import CATEGORY_SLUGS
from worker import wiring
from worker.commands.evaluate.score_file import ScoreFile, scoring_key, text_key
from worker.commands.text_records import records_of, settings_for_texts
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.moderation.markup import Markup
from worker.records import ScoredRecord
from worker.reported import ModelIdentity
from worker.scores import Scores
from worker.settings import Settings

BATCH_CHARACTERS_MAX = 100_000
"""Characters of the texts that are scored together. A run that is cut off loses one batch."""
BATCH_TEXTS_MAX = 1024
"""Texts that are scored together."""
TEXT_COST = 20
"""Cost of a text in the progress bar, in characters, in addition to its own characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTexts:
    """Scores of texts.

    Attributes:
        scores: ``[N, L]`` probabilities; NaN for a text that could not be scored.
        faults: How many texts could not be scored, by the dead letter's reason.
        model: The model that scored.
    """

    scores: NDArray[np.float32]
    faults: dict[str, int]
    model: ModelIdentity


class TextScorer:
    """Scores texts as the worker scores messages with these texts.

    Args:
        settings: The settings of the model and of the text, and the shape, whose markup the texts have.
        model: An open model.
    """

    def __init__(self, settings: Settings, model: wiring.ScoringModel) -> None:
        given, markup = settings_for_texts(settings), wiring.input_shape(settings).markup
        self.model = model
        self.key = scoring_key(_facts(given, model.identity, markup))
        # The cache would keep what the score file keeps.
        self._cache = ScoreCache(bytes_max=0)
        self._prepare = wiring.make_prepare(given, model, self._cache, markup=markup)

    def score(self, texts: Sequence[str], kept: Path | None, advance: Callable[[int], None]) -> ScoredTexts:
        """Return the scores of texts. Scores that the file holds are not computed again.

        Args:
            texts: The texts; none is blank.
            kept: The file that keeps scores, or None.
            advance: Called with the cost of each batch that has been scored.

        Raises:
            ConfigurationError: The score file can't be used.
            ModelError: The device is broken; the file holds what was scored before.
        """
        keys = [text_key(text) for text in texts]
        faults: dict[str, int] = {}
        with ScoreFile(kept, self.key) as file:
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in file}
            advance(sum(cost(text) for key, text in zip(keys, texts, strict=True) if key not in missing))
            for batch in batches([*missing.items()]):
                answers = self._scored([text for _, text in batch])
                good = [
                    (key, scores)
                    for (key, _), scores in zip(batch, answers, strict=True)
                    if isinstance(scores, np.ndarray)
                ]
                file.add([key for key, _ in good], [scores for _, scores in good])
                for fault in answers:
                    if isinstance(fault, str):
                        faults[fault] = faults.get(fault, 0) + 1
                advance(sum(cost(text) for _, text in batch))
            nothing = np.full(len(CATEGORY_SLUGS), np.nan, np.float32)
            rows = [nothing if (scores := file.get(key)) is None else scores for key in keys]
        return ScoredTexts(
            scores=np.array(rows, np.float32).reshape(-1, len(CATEGORY_SLUGS)),
            faults=faults,
            model=self.model.identity,
        )

    def _scored(self, texts: Sequence[str]) -> list[Scores | str]:
        """Return the scores of each text, or the reason of its dead letter."""
        records = self._prepare(records_of(texts))
        return [_answer(result) for result in score_batch(self.model, records, self._cache)]


def cost(text: str) -> int:
    """Return the cost of a text in the progress bar."""
    return TEXT_COST + len(text)


def batches(items: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    """Split texts with their keys into batches, in order."""
    start = characters = 0
    for index, (_, text) in enumerate(items):
        characters += len(text)
        if index > start and (characters > BATCH_CHARACTERS_MAX or index - start == BATCH_TEXTS_MAX):
            yield items[start:index]
            start, characters = index, len(text)
    if start < len(items):
        yield items[start:]


def score_with_progress(scorer: TextScorer, texts: Sequence[str], kept: Path | None) -> ScoredTexts:
    """Score texts, and show a bar with the time left on standard error while a person watches."""
    console = Console(stderr=True)
    columns = (
        TextColumn("scoring {task.fields[texts]} texts"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=sum(map(cost, texts)), texts=len(texts))
        return scorer.score(texts, kept, lambda amount: progress.advance(task, amount))


def _facts(settings: Settings, identity: ModelIdentity, markup: Markup) -> dict[str, object]:
    """Return everything that changes scores."""
    has_plain = "plain" in settings.text.views
    return {
        "digest": identity.digest,
        "dtype": identity.dtype,
        "tokens_max": settings.model.tokens_max,
        "characters_max": settings.input.characters_max,
        "views": sorted(settings.text.views),
        "windows_max": settings.text.windows_max,
        "window_overlap_tokens": settings.text.window_overlap_tokens,
        # The rules of the plain view belong to a version of the worker.
        "worker": wiring.VERSION if has_plain else None,
        "markup": markup if has_plain else None,
    }


def _answer(result: ScoredRecord) -> Scores | str:
    if (fault := result.dead_letter_reason) is not None:
        return fault.reason
    if isinstance(result.scores, np.ndarray):
        return result.scores
    return np.zeros(len(CATEGORY_SLUGS), np.float32)  # a blank text: the worker publishes zeros for it
