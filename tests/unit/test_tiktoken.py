"""tiktoken tokenises only where it certainly gives the same ids; otherwise a start-up line says why it does not."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.small_models import ARCHITECTURES, make_tokenizer, options
from worker.classifier import load
from worker.classifier.split_pattern import SPLIT_PATTERNS
from worker.classifier.tiktoken_encoder import same_splits
from worker.classifier.tokenizer import TextEncoder
from worker.running import start_up_lines
from worker.settings import load_settings

ROOT = Path(__file__).parents[2]
TEXTS = ["good game", "", "ke\u0301k \u4f60\u597d <|endoftext|>", "x" * 300]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folders = {name: make_tokenizer(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}
    return {name: json.loads((folder / "tokenizer.json").read_bytes()) for name, folder in folders.items()}


def encoder_of(document: Any) -> TextEncoder:
    return TextEncoder(json.dumps(document), tokens_max=512, truncation_side="right")


def wanted(document: Any) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(TEXTS)]


def by_another_pattern(document: Any) -> None:
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\\S+|\\s+"


def with_compatibility_forms(document: Any) -> None:
    document["normalizer"] = {"type": "NFKC"}


def merged_by_chance(document: Any) -> None:
    document["model"]["dropout"] = 0.5


def with_a_suffix(document: Any) -> None:
    document["model"]["end_of_word_suffix"] = "</w>"


def with_late_merges_first(document: Any) -> None:
    document["model"]["merges"].reverse()


def with_a_word_that_no_merge_makes(document: Any) -> None:
    model = document["model"]
    model["ignore_merges"] = True
    left, right = model["merges"].pop()
    assert left + right in model["vocab"]


def with_a_token_after_the_text(document: Any) -> None:
    end = document["added_tokens"][0]
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end["content"], "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {end["content"]: {"id": end["content"], "ids": [end["id"]], "tokens": [end["content"]]}},
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (by_another_pattern, "not a byte-level BPE that splits as"),
        (with_compatibility_forms, "not a byte-level BPE that splits as"),
        (merged_by_chance, "not a byte-level BPE that splits as"),
        (with_a_suffix, "not a byte-level BPE that splits as"),
        (with_late_merges_first, "merges are not in the order"),
        (with_a_word_that_no_merge_makes, "list of merges lacks"),
        (with_a_token_after_the_text, "adds a token after every text"),
    ],
)
def test_a_tokenizer_for_which_the_ids_could_differ_is_used_as_it_is(
    documents: dict[str, Any], change: Callable[[Any], None], reason: str
) -> None:
    document = json.loads(json.dumps(documents["qwen2"]))
    change(document)
    encoder = encoder_of(document)
    assert encoder.library == "tokenizers"
    [line] = encoder.fallbacks
    assert reason in line
    if change is not merged_by_chance:
        assert [list(one.tokens) for one in encoder.encode(TEXTS)] == wanted(document)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_entries_that_no_merge_makes_are_tokens_only_if_the_tokenizer_looks_whole_pieces_up(
    documents: dict[str, Any], architecture: str
) -> None:
    document = json.loads(json.dumps(documents[architecture]))
    document["model"]["vocab"]["qqqq"] = 9_999
    found = {}
    for whole_pieces in (False, True):
        document["model"]["ignore_merges"] = whole_pieces
        encoder = encoder_of(document)
        assert encoder.library == "tiktoken"
        assert [list(one.tokens) for one in encoder.encode([*TEXTS, "qqqq"])][:-1] == wanted(document)
        found[whole_pieces] = 9_999 in encoder.encode(["qqqq"])[0].tokens
    assert found == {False: False, True: True}


def test_a_text_that_holds_the_separator_of_this_process_has_its_own_ids(
    documents: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    encoder = encoder_of(documents["qwen2"])
    assert encoder.library == "tiktoken"
    texts = ["a", "b\U0010ffff" + "0" * 32 + "c", "\U0010ffff", "0" * 32]
    tokenizer = Tokenizer.from_str(json.dumps({**documents["qwen2"], "added_tokens": []}))
    assert [list(one.tokens) for one in encoder.encode(texts)] == [one.ids for one in tokenizer.encode_batch(texts)]


def test_white_space_that_exceeds_the_stack_of_the_regex_engine_has_its_ids(documents: dict[str, Any]) -> None:
    document = documents["llama"]
    encoder = TextEncoder(json.dumps(document), tokens_max=10**6, truncation_side="left")
    tokenizer = Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))
    text = "x" + 2_000_000 * " "
    assert encoder.library == "tiktoken"
    assert list(encoder.encode([text])[0].tokens)[1:] == tokenizer.encode(text).ids[-(10**6) + 1 :]


def test_without_the_package_tiktoken_the_library_tokenizers_tokenises(
    documents: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(documents["qwen2"]))
    code = (
        "import sys; from pathlib import Path; from tests.gpu.alone import block; block()\n"
        "from worker.classifier.tokenizer import TextEncoder\n"
        "encoder = TextEncoder(Path(sys.argv[1]).read_text(), tokens_max=9, truncation_side='right')\n"
        "print(encoder.library, encoder.fallbacks, encoder.encode(['good game'])[0].tokens)"
    )
    ran = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ids = encoder_of(documents["qwen2"]).encode(["good game"])[0].tokens
    assert ran.stdout.startswith("tokenizers (")
    assert "the package tiktoken is not installed" in ran.stdout
    assert str(ids) in ran.stdout


def test_the_start_up_line_names_the_library_that_tokenises() -> None:
    kafka = {
        "BOOTSTRAP_SERVERS": "broker:9092",
        "GROUP_ID": "moderation",
        "TRANSACTIONAL_ID": "moderation-0",
        "INPUT_TOPICS": "chat",
        "VERDICT_TOPIC": "verdicts",
        "ALERT_TOPIC": "alerts",
        "DEAD_LETTER_TOPIC": "dead-letters",
    }
    settings = load_settings({f"WORKER_KAFKA__{name}": value for name, value in kafka.items()}).settings
    line, *_ = start_up_lines(settings, load(options("demo"), lambda _: None))
    assert ", tokenizer tiktoken, " in line


@pytest.mark.slow
@pytest.mark.parametrize("pattern", sorted(SPLIT_PATTERNS))
def test_both_regex_engines_have_the_same_class_for_every_code_point(pattern: str) -> None:
    assert same_splits(pattern, (point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF))
