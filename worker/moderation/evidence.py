"""Say which part of a text gave the score of each flagged category. Pure."""

from collections.abc import Sequence

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import EvidenceJson
from worker.records import Evidence


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
