"""Say which parts of a text were scored, and which part gave the score of each flagged category. Pure."""

from collections.abc import Sequence

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import EvidenceJson, PartsJson
from worker.moderation.text_rows import RAW
from worker.scores import Evidence


def parts_json(evidence: Evidence) -> PartsJson:
    """Return the fields of a verdict's ``input`` that say which parts of a text were scored."""
    if list(evidence.views) == [RAW]:
        return {"windows": evidence.windows}
    return {"windows": evidence.windows, "views": evidence.views}


def evidence_json(evidence: Evidence, flags: Sequence[bool]) -> list[EvidenceJson]:
    """Return the part with the highest score of each flagged category, in the card's order.

    Args:
        evidence: The parts of a text that were scored.
        flags: ``[L]`` for each category, whether it is flagged.
    """
    return [
        {"category": slug, "view": passage.view, "start": passage.start, "end": passage.end}
        for slug, passage, flag in zip(CATEGORY_SLUGS, evidence.passages, flags, strict=True)
        if flag
    ]
