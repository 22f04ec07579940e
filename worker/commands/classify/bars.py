"""Judged texts for people: a bar for each category."""

from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher

import numpy as np
from rich.console import Console
from rich.text import Text

from schemas.labels import CATEGORY_NAMES
from worker.commands.classify.lines import InputLine, LineJudge
from worker.logs import escaped
from worker.moderation.policies import MessageFields, Policy, decide_each
from worker.moderation.text_rows import PLAIN
from worker.records import PreparedMessage, ScoredRecord
from worker.scores import Evidence

BAR_COLUMNS = 24
TEXT_COLUMNS = 90
CHANGES_SHOWN_MAX = 5
CHARACTERS_COMPARED_MAX = 2000
BYTES_SHOWN_MAX = 4 * TEXT_COLUMNS + 4
"""Enough for one character more than is shown: a character has at most 4 bytes."""


PlainView = Callable[[str], str]
"""Returns what a reader sees of a text."""


def show_texts(
    batches: Iterable[Sequence[InputLine]],
    console: Console,
    *,
    judge: LineJudge,
    policy: Policy,
    plain_view: PlainView | None = None,
) -> bool:
    """Print for each text a bar for each category: flagged categories first, then by score.

    If the text was scored in several parts, say in which, and what a reader sees.

    Args:
        batches: The texts.
        console: Where to print.
        judge: Scores the texts.
        policy: Decides about them.
        plain_view: Makes the plain view; None when it is not scored.

    Returns:
        Whether every text was judged.

    Raises:
        ModelError: The device is broken.
    """
    good = True
    for lines in batches:
        for result in judge.results(lines):
            good = good and result.dead_letter_reason is None
            console.print(_drawn(result, policy, plain_view), soft_wrap=True)
    return good


def _drawn(result: ScoredRecord, policy: Policy, plain_view: PlainView | None) -> Text:
    beginning = (result.record.source.value or b"")[:BYTES_SHOWN_MAX].decode(errors="replace")
    drawing = Text(escaped(beginning, TEXT_COLUMNS), style="bold")
    drawing.append("\n")
    content, scores = result.record.content, result.scores
    if (fault := result.dead_letter_reason) is not None:
        return drawing.append(f"  not judged: {fault.message} ({fault.reason})\n", style="not bold yellow")
    assert isinstance(content, PreparedMessage)  # noqa: S101 - a line is no tombstone
    resolution = policy.resolve(MessageFields())
    if not isinstance(scores, np.ndarray):
        reason = f"the exemption {resolution.exempt} matches" if content.is_unscored else "the text is blank"
        return drawing.append(f"  not flagged: {escaped(reason)}, so the model was not asked\n", style="not bold")
    [decision] = decide_each(policy, scores[np.newaxis], [resolution])
    flags, thresholds = decision.flags, resolution.thresholds[0]
    level = decision.level_name if policy.has_file else None
    drawing.append(
        f"  {_sentence(content, flags, level)}\n", style="not bold red" if any(flags) else "not bold green"
    )
    if result.evidence is not None:
        raw = (result.record.source.value or b"").decode(errors="replace")
        drawing.append(
            "".join(f"  {line}\n" for line in _parts(result.evidence, raw, flags, plain_view)), "not bold"
        )
    for index in sorted(range(len(CATEGORY_NAMES)), key=lambda index: (not flags[index], -scores[index])):
        row = _row(CATEGORY_NAMES[index], scores[index], thresholds[index], is_flagged=flags[index])
        drawing.append(row, style="not bold red" if flags[index] else "not bold dim")
    return drawing


def _parts(evidence: Evidence, raw: str, flags: Sequence[bool], plain_view: PlainView | None) -> list[str]:
    """Return lines about the parts of a text that were scored."""
    lines = [f"scored in {evidence.windows} parts, as {' and '.join(evidence.views)}; each score is the highest"]
    if plain_view is not None and PLAIN in evidence.views:
        shown = plain_view(raw)
        lines.append(f"a reader sees: {escaped(shown, TEXT_COLUMNS)}")
        lines += [f"    {before} → {after}" for before, after in _changed_words(raw, shown)]
    for name, passage, flag in zip(CATEGORY_NAMES, evidence.passages, flags, strict=True):
        if flag:
            lines.append(f"{name}: from characters {passage.start} to {passage.end}, in the {passage.view} view")
    return lines


def _changed_words(raw: str, shown: str) -> list[tuple[str, str]]:
    """Return the first runs of words that differ between two views of a text."""
    before, after = raw[:CHARACTERS_COMPARED_MAX].split(), shown[:CHARACTERS_COMPARED_MAX].split()
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        (escaped(" ".join(before[i:j]), TEXT_COLUMNS // 2), escaped(" ".join(after[k:n]), TEXT_COLUMNS // 2))
        for kind, i, j, k, n in changes
        if kind != "equal"
    ][:CHANGES_SHOWN_MAX]


def _sentence(message: PreparedMessage, flags: Sequence[bool], level: str | None) -> str:
    names = [name for name, flag in zip(CATEGORY_NAMES, flags, strict=True) if flag]
    flagged = "FLAGGED" if level is None else f"FLAGGED, level {level}"
    judged = f"{flagged}: {', '.join(names)}" if names else "not flagged"
    cut = "; CUT: a part was not judged" if message.truncated else ""
    return f"{judged}; {message.characters} characters, {message.token_count} tokens{cut}"


def _row(name: str, score: np.float32, threshold: np.float32, *, is_flagged: bool) -> str:
    """Draw ``! Hate    ████████████│███····  0.671 > 0.5``; the ``│`` is at the threshold."""
    cells = ["█" if column < int(score * BAR_COLUMNS) else "·" for column in range(BAR_COLUMNS)]
    if threshold <= 1:  # otherwise the category is off
        cells.insert(int(threshold * BAR_COLUMNS), "│")
    mark, compared = ("!", ">") if is_flagged else (" ", "≤")
    return f"  {mark} {name:<26}{''.join(cells)}  {score:.3f} {compared} {threshold:g}\n".replace("≤ inf", "(off)")
