"""Judged texts for people: a bar for each category."""

from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from schemas.labels import CATEGORY_NAMES
from worker.commands.classify.lines import InputLine, LineJudge
from worker.logs import escaped
from worker.moderation.policies import MessageFields, Policy, decide_each
from worker.records import PreparedMessage, ScoredRecord

BAR_COLUMNS = 24
TEXT_COLUMNS = 90
BYTES_SHOWN_MAX = 4 * TEXT_COLUMNS + 4
"""Enough for one character more than is shown: a character has at most 4 bytes."""


def show_texts(
    batches: Iterable[Sequence[InputLine]], console: Console, *, judge: LineJudge, policy: Policy
) -> bool:
    """Print for each text a bar for each category: flagged categories first, then by score.

    Returns:
        Whether every text was judged.

    Raises:
        ModelError: The device is broken.
    """
    good = True
    for lines in batches:
        for result in judge.results(lines):
            good = good and result.dead_letter_reason is None
            console.print(_drawn(result, policy), soft_wrap=True)
    return good


def _drawn(result: ScoredRecord, policy: Policy) -> Text:
    beginning = (result.record.source.value or b"")[:BYTES_SHOWN_MAX].decode(errors="replace")
    drawing = Text(escaped(beginning, TEXT_COLUMNS), style="bold")
    drawing.append("\n")
    content, scores = result.record.content, result.scores
    if (fault := result.dead_letter_reason) is not None:
        return drawing.append(f"  not judged: {fault.message} ({fault.reason})\n", style="not bold yellow")
    assert isinstance(content, PreparedMessage)  # noqa: S101 - a line is no tombstone
    if not isinstance(scores, np.ndarray):
        return drawing.append("  not flagged: the text is blank, so the model was not asked\n", style="not bold")
    resolution = policy.resolve(MessageFields())
    [decision] = decide_each(policy, scores[np.newaxis], [resolution])
    flags, thresholds = decision.flags, resolution.thresholds[0]
    level = decision.level_name if policy.has_file else None
    drawing.append(
        f"  {_sentence(content, flags, level)}\n", style="not bold red" if any(flags) else "not bold green"
    )
    for index in sorted(range(len(CATEGORY_NAMES)), key=lambda index: (not flags[index], -scores[index])):
        row = _row(CATEGORY_NAMES[index], scores[index], thresholds[index], is_flagged=flags[index])
        drawing.append(row, style="not bold red" if flags[index] else "not bold dim")
    return drawing


def _sentence(message: PreparedMessage, flags: Sequence[bool], level: str | None) -> str:
    names = [name for name, flag in zip(CATEGORY_NAMES, flags, strict=True) if flag]
    flagged = "FLAGGED" if level is None else f"FLAGGED, level {level}"
    judged = f"{flagged}: {', '.join(names)}" if names else "not flagged"
    cut = "; CUT: only the beginning was judged" if message.truncated else ""
    return f"{judged}; {message.characters} characters, {message.token_count} tokens{cut}"


def _row(name: str, score: np.float32, threshold: np.float32, *, is_flagged: bool) -> str:
    """Draw ``! Hate    ████████████│███····  0.671 > 0.5``; the ``│`` is at the threshold."""
    cells = ["█" if column < int(score * BAR_COLUMNS) else "·" for column in range(BAR_COLUMNS)]
    if threshold <= 1:  # otherwise the category is off
        cells.insert(int(threshold * BAR_COLUMNS), "│")
    mark, compared = ("!", ">") if is_flagged else (" ", "≤")
    return f"  {mark} {name:<26}{''.join(cells)}  {score:.3f} {compared} {threshold:g}\n".replace("≤ inf", "(off)")
