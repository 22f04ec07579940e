import json
import re
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from schemas.verdict import SourceJson, encode, encode_scores, identify, rfc3339

SOURCE: SourceJson = {"topic": "chat.messages", "partition": 3, "offset": 42, "timestamp_ms": 1}
JUDGE = ("revision", "float32", "thresholds")


def test_the_categories_are_the_cards_in_its_order() -> None:
    assert CATEGORY_NAMES[3] == "Child sexual exploitation"
    assert ", ".join(CATEGORY_SLUGS) == (
        "violent_crimes, non_violent_crimes, sex_related_crimes, child_sexual_exploitation, specialized_advice, "
        "privacy, intellectual_property, indiscriminate_weapons, hate, suicide_and_self_harm, sexual_content, "
        "jailbreak_prompts"
    )


def digits(number: str) -> str:
    return re.sub(r"e.*|\D", "", number).strip("0")


@given(score=st.floats(0, 1, width=32))
@example(score=1e-10)
@example(score=0.3)
@example(score=float(np.finfo(np.float32).smallest_subnormal))
@example(score=float(np.finfo(np.float32).smallest_normal))
@example(score=float(np.nextafter(np.float32(1), np.float32(0))))
@example(score=0.0)
@example(score=1.0)
def test_a_score_is_the_shortest_decimal_that_gives_the_same_float32_back(score: float) -> None:
    expected = np.float32(score)
    (encoded,) = encode_scores(np.full((1, 12), expected, np.float32))
    for written in (encode({"score": expected}).decode(), encode({"score": orjson.Fragment(encoded)}).decode()):
        number = re.findall(r"[\d.e-]+", written.replace("score", ""))[-1]
        assert np.float32(number) == expected
        # numpy's own shortest representation has as many digits, or the same ones.
        assert len(digits(number)) == len(digits(np.format_float_scientific(expected)))


def test_scores_are_encoded_row_by_row_in_the_cards_order() -> None:
    rows = np.linspace(0, 23 / 32, 24, dtype=np.float32).reshape(2, 12)  # exact in binary
    documents: list[dict[str, Any]] = [json.loads(row) for row in encode_scores(rows)]
    assert [tuple(document) for document in documents] == [CATEGORY_SLUGS, CATEGORY_SLUGS]
    assert [list(document.values()) for document in documents] == rows.tolist()


def test_zero_rows_give_zero_documents() -> None:
    assert encode_scores(np.zeros((0, 12), np.float32)) == []


def test_an_identifier_does_not_change_between_releases_or_with_the_timestamp() -> None:
    assert identify("verdict/1", judge=JUDGE, source=SOURCE) == "4a8413abea033e55580f2b211209f2b4"
    later: SourceJson = {**SOURCE, "timestamp_ms": None}
    assert identify("verdict/1", judge=JUDGE, source=SOURCE) == identify("verdict/1", judge=JUDGE, source=later)


def test_identifiers_differ_by_schema_judge_and_message() -> None:
    sources: list[SourceJson] = [
        SOURCE,
        {**SOURCE, "topic": "chat.messages2"},
        {**SOURCE, "partition": 34},
        {**SOURCE, "offset": 4},
    ]
    judges = [JUDGE, ("r", *JUDGE[1:]), ("revision", "bfloat16", "thresholds"), (*JUDGE[:2], "t")]
    names = {
        identify(schema, judge=judge, source=source)
        for schema in ("verdict/1", "alert/1")
        for judge in judges
        for source in sources
    }
    assert len(names) == 2 * len(judges) * len(sources)


@pytest.mark.parametrize(
    ("epoch_ms", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1769851800250, "2026-01-31T09:30:00.250Z"),
        (1769851800999, "2026-01-31T09:30:00.999Z"),
    ],
)
def test_a_time_is_written_in_utc_with_milliseconds(epoch_ms: int, written: str) -> None:
    assert rfc3339(epoch_ms) == written
