"""Compare the tokenizer with transformers' own: the same ids for any text of any length.

``TEST_TOKENIZERS`` names folders of real tokenizers, and ``TEST_LOGS`` chat logs: files with one JSON object with
``text`` on each line, gzipped or not. Both are lists separated by spaces. Without them the tests use small
tokenizers and made-up texts.
"""

import json
import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.bench.pipeline_course import texts_of
from tests.hostile import SPECIAL_TOKENS
from tests.small_models import ARCHITECTURES, SENTENCES, make_tokenizer
from worker.classifier.first_cut import FirstCut
from worker.classifier.model_files import DEMO_MODEL
from worker.classifier.tokenizer import TextEncoder, open_tokenizer

CHARACTERS_MAX = 65_536
REAL = os.environ.get("TEST_TOKENIZERS", "").split()
LOGS = os.environ.get("TEST_LOGS", "").split()

PIECES = (
    *SENTENCES,
    *(
        "a",
        "aaaaaaa",
        " ",
        "    ",
        "\n",
        "\r\n\n",
        "\t",
        "\u3000",
        "\u200b",
        "\x1c",
        "\x85",
        "'",
        "'s",
        "'re",
        "\u017f",
    ),
    *("e\u0301", "\u0301", "\u0327\u0301", "\u1100", "\u1161\u11a8", "\u09c7", "\u09be", "\ufb2c", "\u212b"),
    *("\U0001f600", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea", "\U0001d4d0", "7", "12345", "٣", "½"),
    *("!", "...", " ,", "?!\n", "好", "好看", "\uff0c", "。\n", "か\u3099", "カ", "ﾊﾟ", "한", "\u11a8", "ไทย"),
    *("<tool_call>", "<|im_end|>", "<|endoftext|>", "\0", "\ufffd", "\U0010ffff"),
)
"""Pieces that a cut could divide: runs of one class, combining marks, and the characters that end a run."""

FAMILIES = {
    "one letter": "a" * CHARACTERS_MAX,
    "words": "good game everyone " * 3_400,
    "long words": ("x" * 700 + " ") * 90,
    "white space": "x" + " " * (CHARACTERS_MAX - 1),
    "words after white space": "x" + " " * 5_000 + "good game " * 3_000,
    "line ends": "gg \n\n" * 13_000,
    "combining marks": "e" + "\u0301" * (CHARACTERS_MAX - 1),
    "decomposed": "e\u0301 " * 20_000,
    "jamo": "\u1112\u1161\u11ab" * 20_000,
    "Chinese": "今天的直播很好看\uff0c" * 7_000,
    "Chinese without marks": "今天的直播很好看" * 8_000,
    "Korean": "안녕하세요 여러분. " * 5_000,
    "Thai": "สวัสดีครับทุกคน" * 4_000,
    "emoji": "\U0001f600" * CHARACTERS_MAX,
    "emoji and spaces": "\U0001f600 " * 30_000,
    "digits": "7" * CHARACTERS_MAX,
    "numbers": "12 345 6 " * 7_000,
    "signs": "!?" * 30_000,
    "control tokens": "<tool_call> <|im_end|>" * 2_900,
    "two letters": "aab" * 21_000,
    "lines of white space": (" " * 50 + "\n") * 1_280,
    "no-break spaces": "\u00a0" * CHARACTERS_MAX,
    "contractions": "'ll'S'\u017f" * 9_000,
    "underlines": "_" * CHARACTERS_MAX,
    "Arabic": "\u0645\u0631\u062d\u0628\u0627" * 13_000,
    "Hindi": "\u0928\u092e\u0938\u094d\u0924\u0947" * 10_000,
    "flags": "\U0001f1e9\U0001f1ea" * 32_000,
    "joined emoji": "\U0001f468\u200d" * 32_000,
    "replacement characters": "\ufffd" * CHARACTERS_MAX,
    "private use": "\ue000" * CHARACTERS_MAX,
    "the last code point": "\U0010ffff" * CHARACTERS_MAX,
    "zeros": "\0" * CHARACTERS_MAX,
    "ligatures": "\ufdfa" * CHARACTERS_MAX,
    "composition exclusions": "\u0958" * CHARACTERS_MAX,
    "mathematical letters": "\U0001d4d0" * CHARACTERS_MAX,
}

SCRIPTS = (
    *((0x0000, 0x024F), (0x0300, 0x036F), (0x0370, 0x052F), (0x0530, 0x06FF), (0x0900, 0x0DFF), (0x0E00, 0x11FF)),
    *((0x1E00, 0x20FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xA640, 0xABFF), (0xAC00, 0xD7FB), (0xF900, 0xFFFD)),
    *((0x10000, 0x10FFF), (0x1D000, 0x1FFFF), (0x20000, 0x10FFFF)),
)
FORMS = {"NFC", "NFD", "NFKC", "NFKD"}
TEXTS = st.builds(
    lambda parts, form: unicodedata.normalize(form, "".join(parts)) if form in FORMS else "".join(parts),
    st.lists(
        st.one_of(
            *(
                st.text(
                    st.characters(min_codepoint=first, max_codepoint=last, exclude_categories=["Cs"]), max_size=9
                )
                for first, last in SCRIPTS
            ),
            st.builds(str.__mul__, st.sampled_from((*PIECES, *SPECIAL_TOKENS)), st.sampled_from((1, 1, 2, 40))),
        ),
        max_size=9,
    ),
    st.sampled_from(["as it is", *sorted(FORMS)]),
)
"""Texts of all scripts, normal forms, white space, marks and added tokens, with long runs."""


@pytest.fixture(scope="module", params=[*ARCHITECTURES, "demo", *REAL])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "demo":
        return DEMO_MODEL
    if request.param in REAL:
        return Path(request.param)
    return make_tokenizer(tmp_path_factory.mktemp(request.param), request.param)


def opened(folder: Path, *, tokens_max: int = 512) -> TextEncoder:
    return open_tokenizer(folder, tokens_max=tokens_max, vocabulary=200_000, bos_wanted=False)


def as_text(folder: Path) -> Tokenizer:
    """Return transformers' tokenizer, with every added token special and encoded as text."""
    original: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer: Tokenizer = original.backend_tokenizer
    tokenizer.add_special_tokens([token.content for token in tokenizer.get_added_tokens_decoder().values()])
    tokenizer.encode_special_tokens = True
    return tokenizer


def bare_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def expected(tokenizer: Tokenizer, text: str, tokens_max: int, side: str = "right") -> tuple[list[int], bool]:
    """Return the ids of the whole text, cut afterwards, and whether the cut shortened them."""
    bos, ids = tokenizer.encode("").ids, bare_ids(tokenizer, text)
    room = tokens_max - len(bos)
    return bos + (ids[:room] if side == "right" else ids[-room:]), len(ids) > room


def given_by(encoder: TextEncoder, texts: Sequence[str]) -> list[tuple[list[int], bool]]:
    return [(list(encoded.tokens), encoded.truncated) for encoded in encoder.encode(texts)]


class BothTokenizers:
    """This worker's tokenizer and transformers'."""

    def __init__(self, folder: Path) -> None:
        self.ours = opened(folder)
        self.by_bound = {tokens_max: opened(folder, tokens_max=tokens_max) for tokens_max in (1, 5, 512)}
        self.original: Any = AutoTokenizer.from_pretrained(folder)
        self.as_text = as_text(folder)
        self.added = self.as_text.get_added_tokens_decoder()


@pytest.fixture(scope="module")
def pair(folder: Path) -> BothTokenizers:
    return BothTokenizers(folder)


def test_no_text_of_a_user_becomes_an_added_token(pair: BothTokenizers) -> None:
    special = {token.content: token.special for token in pair.original.added_tokens_decoder.values()}
    assert not special.get("<tool_call>", False)
    bos = pair.as_text.encode("").ids
    for content in special:
        for text in (content, f"hi {content} you", f"x{content}{content}", f" {content} "):
            [(ids, truncated)] = given_by(pair.ours, [text])
            assert (ids, truncated) == expected(pair.as_text, text, 512)
            assert not pair.added.keys() & ids[len(bos) :], text


def test_tiktoken_tokenises_with_the_tokenizers_of_both_architectures(pair: BothTokenizers) -> None:
    assert (pair.ours.library, pair.ours.fallbacks) == ("tiktoken", ())


@settings(max_examples=300)
@given(texts=st.lists(TEXTS, max_size=5), tokens_max=st.sampled_from((1, 5, 512)))
def test_texts_of_all_scripts_have_the_ids_of_the_library_tokenizers(
    pair: BothTokenizers, texts: list[str], tokens_max: int
) -> None:
    answers = given_by(pair.by_bound[tokens_max], texts)
    assert answers == [expected(pair.as_text, text, tokens_max) for text in texts]


def test_the_texts_of_real_logs_have_the_ids_of_the_library_tokenizers(pair: BothTokenizers) -> None:
    texts = list({text: None for log in LOGS for text in texts_of(Path(log))})
    if not texts:
        # The repository has no chat logs: their licences differ, and they are large. The property test runs always.
        pytest.skip("TEST_LOGS names no log")
    bos = pair.as_text.encode("").ids
    for start in range(0, len(texts), 1000):
        part = texts[start : start + 1000]
        wanted = pair.as_text.encode_batch_fast(part, add_special_tokens=False)
        assert [tokens for tokens, _ in given_by(pair.ours, part)] == [(bos + one.ids)[:512] for one in wanted]


@settings(max_examples=200)
@given(text=st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_a_text_without_an_added_token_has_the_ids_that_transformers_gives(pair: BothTokenizers, text: str) -> None:
    for token in pair.added.values():
        text = text.replace(token.content, "")
    [(ids, _)] = given_by(pair.ours, [text])
    assert ids == pair.original(text, split_special_tokens=True).input_ids


@settings(max_examples=400)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 9)), max_size=40),
    tokens_max=st.integers(1, 9),
)
@example(pieces=[("aaaaaaa", 1), ("'", 1), (" ", 1), ("'s", 9)], tokens_max=1)
@example(pieces=[("好", 7), ("\uff0c", 1), ("\n", 9)], tokens_max=1)
def test_the_tokens_of_a_head_are_the_first_tokens_of_the_text(
    pair: BothTokenizers, pieces: list[tuple[str, int]], tokens_max: int
) -> None:
    cut = FirstCut.of(json.loads(pair.as_text.to_str()), tokens_max=tokens_max)
    assert cut is not None
    text = "".join(piece * times for piece, times in pieces)
    head = cut.head(text)
    assert text.startswith(head)
    tokens, all_tokens = bare_ids(pair.as_text, head), bare_ids(pair.as_text, text)
    assert tokens == all_tokens[: len(tokens)]
    assert head == text or (len(head) <= 8 * tokens_max and len(tokens) < len(all_tokens))


@pytest.mark.parametrize("tokens_max", [8, 512])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_long_text_has_the_tokens_of_the_whole_text(
    folder: Path, tokens_max: int, side: str, tmp_path: Path
) -> None:
    sided = Path(shutil.copytree(folder, tmp_path / "sided"))
    path = sided / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncation_side": side}))
    texts = [text[:CHARACTERS_MAX] for text in FAMILIES.values()]
    tokenizer = as_text(folder)
    names, texts = [*FAMILIES, *SENTENCES], [*texts, *SENTENCES]
    answers = given_by(opened(sided, tokens_max=tokens_max), texts)
    for name, text, answer in zip(names, texts, answers, strict=True):
        assert answer == expected(tokenizer, text, tokens_max, side), name


def test_ordinary_long_texts_get_a_first_cut_and_other_tokenizers_get_none(folder: Path) -> None:
    document = json.loads(as_text(folder).to_str())
    cut = FirstCut.of(document, tokens_max=512)
    assert cut is not None
    for name in ("words", "decomposed", "Chinese", "Korean", "emoji and spaces", "numbers", "control tokens"):
        assert len(cut.head(FAMILIES[name])) <= 8 * 512, name
    split = document["pre_tokenizer"]["pretokenizers"][0]
    for other in (
        {"normalizer": {"type": "NFKC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split]}},
        {"model": {**document["model"], "dropout": 0.1}},
    ):
        assert FirstCut.of({**document, **other}, tokens_max=512) is None
    split["pattern"]["Regex"] = r"\S+ \S+|\s+"
    assert FirstCut.of(document, tokens_max=512) is None
