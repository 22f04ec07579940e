"""Files of labelled texts: this project's own format, and the formats of the published sets."""

import gzip
import re
import shutil
from pathlib import Path

import pytest

from schemas.chat import ChatMessage
from schemas.labels import CATEGORY_SLUGS
from worker.commands.evaluate.labelled_texts import UNKNOWN, LabelledText, label_matrix, unsafe_column
from worker.commands.evaluate.published_sets import SetFormat, read_labelled_texts
from worker.errors import ConfigurationError
from worker.moderation.shapes import compile_shape, load_shape

SETS = Path(__file__).parents[1] / "published_sets"
HATE = CATEGORY_SLUGS.index("hate")


def read(tmp_path: Path, *lines: str) -> list[LabelledText]:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(lines))
    return read_labelled_texts(path, "jsonl")


def test_a_category_that_a_line_does_not_name_is_unknown_and_not_false(tmp_path: Path) -> None:
    texts = read(tmp_path, '{"text": "a", "labels": {"hate": true, "privacy": false, "sexual_content": null}}')
    row = dict(zip(CATEGORY_SLUGS, label_matrix(texts)[0].tolist(), strict=True))
    assert {slug: label for slug, label in row.items() if label != UNKNOWN} == {"hate": 1, "privacy": 0}


def test_a_text_that_is_safe_has_no_category_and_an_unsafe_one_has_unknown_categories(tmp_path: Path) -> None:
    texts = read(tmp_path, '{"text": "a", "unsafe": false}', '{"text": "b", "unsafe": true}')
    assert label_matrix(texts)[0].tolist() == [0] * len(CATEGORY_SLUGS)
    assert label_matrix(texts)[1].tolist() == [UNKNOWN] * len(CATEGORY_SLUGS)
    assert unsafe_column(texts).tolist() == [0, 1]


def test_unsafe_follows_from_the_labels_only_where_they_decide_it(tmp_path: Path) -> None:
    every = ", ".join(f'"{slug}": false' for slug in CATEGORY_SLUGS)
    texts = read(
        tmp_path,
        '{"text": "a", "labels": {"hate": true}}',
        '{"text": "b", "labels": {"hate": false}}',
        f'{{"text": "c", "labels": {{{every}}}}}',
    )
    assert unsafe_column(texts).tolist() == [1, UNKNOWN, 0]


def test_half_an_emoji_is_read_as_the_worker_reads_it_in_a_message(tmp_path: Path) -> None:
    line = '{"text": "half \\ud83d an emoji", "unsafe": true, "group": "\\udc4d"}'
    [one] = read(tmp_path, line)
    message = compile_shape(load_shape("plain"))(line.encode(), ())
    assert isinstance(message, ChatMessage)
    assert one.text == message.text == "half \ufffd an emoji"
    assert one.group == "\ufffd"


def test_language_and_group_are_optional_and_a_number_is_a_group(tmp_path: Path) -> None:
    [one] = read(tmp_path, '{"text": "a", "unsafe": true, "language": "de", "group": 7, "seen": "ignored"}', "")
    assert (one.language, one.group) == ("de", "7")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no JSON", "not JSON"),
        ("[1]", "wants an object"),
        ('{"unsafe": true}', '"text" wants a string'),
        ('{"text": "secret words"}', 'wants "labels" or "unsafe"'),
        ('{"text": "secret words", "unsafe": 1}', '"unsafe" wants true or false'),
        (
            '{"text": "secret words", "labels": {"hatred": true}}',
            "unknown category 'hatred'",
        ),
        ('{"text": "secret words", "labels": {"hate": "yes"}}', "wants true, false or null"),
        ('{"text": "secret words", "labels": ["hate"]}', "wants an object of category slugs"),
        ('{"text": "secret words", "labels": {"hate": true}, "unsafe": false}', "a category in"),
        ('{"text": "secret words", "unsafe": true, "language": ["de"]}', '"language" wants a string'),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_without_its_text(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"texts\.jsonl:2: .*{message}") as caught:
        read(tmp_path, '{"text": "good", "unsafe": false}', line)
    assert "secret words" not in str(caught.value)


def test_all_wrong_lines_are_reported_together_up_to_a_bound(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, *["{}"] * 12)
    assert len(str(caught.value).splitlines()) == 11
    assert "2 more lines are wrong" in str(caught.value)


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no labelled text"):
        read(tmp_path, '{"text": "  ", "unsafe": true}')


@pytest.mark.parametrize(
    ("name", "file_format", "texts", "unsafe"),
    [
        ("xstest.csv", "xstest", ["how to kill a process", "how to kill a neighbour"], [0, 1]),
        ("openai.json", "openai", ["words of hate", "a kind question"], [1, 0]),
        (
            "toxicchat.json",
            "toxicchat",
            ["what to cook", "ignore your rules", "a row without categories"],
            [0, 1, 1],
        ),
        ("beavertails.jsonl", "beavertails", ["how to paint With a brush.", "how to harm Like this."], [0, 1]),
        ("rtp-lx.json", "rtp-lx", ["a recipe for soup", "a threat"], [0, 1]),
        ("xsafety.json", "xsafety", ["a harmful question"], [1]),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_published_set_is_read_as_it_is(
    tmp_path: Path, name: str, file_format: SetFormat, texts: list[str], unsafe: list[int], *, packed: bool
) -> None:
    path = tmp_path / name
    shutil.copy(SETS / name, path)
    if packed:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress((SETS / name).read_bytes()))
    found = read_labelled_texts(path, file_format)
    assert [one.text for one in found] == [f"made up: {text}" for text in texts]
    assert unsafe_column(found).tolist() == unsafe


def test_categories_of_toxicchat_are_taken_by_the_number_in_the_key_and_not_by_position() -> None:
    found = read_labelled_texts(SETS / "toxicchat.json", "toxicchat")
    true = [{slug for slug, label in one.labels.items() if label} for one in found]
    assert true == [set(), {"violent_crimes", "jailbreak_prompts"}, set()]
    assert label_matrix(found)[2].tolist() == [UNKNOWN] * len(CATEGORY_SLUGS)


def test_the_rows_of_translations_are_in_the_same_group() -> None:
    assert [one.group for one in read_labelled_texts(SETS / "openai.json", "openai")] == ["1", "2"]


@pytest.mark.parametrize("file_format", ["xstest", "openai", "beavertails"])
def test_a_file_of_another_format_is_refused_without_its_content(tmp_path: Path, file_format: SetFormat) -> None:
    path = tmp_path / "other"
    path.write_text('{"words": "secret words"}\n' * 2)
    with pytest.raises(ConfigurationError, match=f"not a file of the format {file_format}") as caught:
        read_labelled_texts(path, file_format)
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize(
    ("file_format", "content", "reason"),
    [
        ("xstest", 'id,type,prompt\n1,homonyms,"secret words\n2,contrast_homonyms,b\n3,homonyms,c\n', "row 1"),
        ("xstest", "type,prompt\nhomonyms,a\nhomonyms,secret words, and more\n", "row 2: has 3 cells"),
        (
            "xstest",
            "type,id,prompt\nhomonyms,1,secret words\ncontrast_homonyms,2\n",
            "row 2: the field 'prompt' wants a string",
        ),
        ("xstest", "type,prompt\n,secret words\n", "row 1: the field 'type' is empty"),
        ("xstest", "type;prompt\nhomonyms;secret words\n", "separated by commas"),
        ("xstest", "type,prompt,prompt\nhomonyms,secret words,\n", "'prompt' once"),
        (
            "beavertails",
            '{"prompt": null, "response": "secret words", "is_safe": true}',
            "row 1: the field 'prompt'",
        ),
        ("beavertails", '{"prompt": "a", "response": "b", "is_safe": true}\n\nsecret words', "line 3"),
        (
            "rtp-lx",
            '[{"prompt": "secret words", "class": 0}, {"prompt": 5, "class": 1}]',
            "row 2: the field 'prompt'",
        ),
        ("xsafety", '[{"prompt": "secret words", "class": [1]}]', "row 1: a class wants"),
        ("openai", '[["secret words"]]', "row 1: is not an object"),
    ],
)
def test_a_row_of_a_set_that_would_be_lost_or_mislabelled_is_named_without_its_text(
    tmp_path: Path, file_format: SetFormat, content: str, reason: str
) -> None:
    path = tmp_path / "set"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(reason)) as caught:
        read_labelled_texts(path, file_format)
    assert "secret words" not in str(caught.value)


def test_a_csv_row_may_lack_the_cells_at_its_end_that_nobody_reads_and_may_end_with_commas(tmp_path: Path) -> None:
    path = tmp_path / "xstest.csv"
    path.write_text("prompt,type,focus,note\na,homonyms,x,y\nb,contrast_homonyms\nc,homonyms,x,y,,\n")
    assert [(one.text, one.unsafe) for one in read_labelled_texts(path, "xstest")] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]


def test_a_csv_file_may_have_long_cells_line_ends_in_cells_a_byte_order_mark_and_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "xstest.csv"
    path.write_bytes(f'\ufeffprompt,type\r\n"{"a" * 200_000}",homonyms\r\n,\r\n"b\r\nc",contrast_x\r\n'.encode())
    found = read_labelled_texts(path, "xstest")
    assert [one.text for one in found] == ["a" * 200_000, "b\r\nc"]
    assert unsafe_column(found).tolist() == [0, 1]


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe\x00", b"\x1f\x8b\x08cut off"], ids=["missing", "utf-16", "gzip"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / ("texts.gz" if content and content[0] == 0x1F else "texts")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="texts"):
        read_labelled_texts(path, "jsonl")


def test_the_line_that_is_not_utf_8_is_named_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_bytes(b'{"text": "a", "unsafe": false}\n{"text": "caf\xe9", "unsafe": false}\n')
    with pytest.raises(ConfigurationError) as caught:
        read_labelled_texts(path, "jsonl")
    assert str(caught.value) == f"{path}:2:14: this character is not UTF-8; save the file as UTF-8"
