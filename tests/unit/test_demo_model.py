import gzip
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from deploy.demo_model.figures import auc, write_card
from deploy.demo_model.train import main
from schemas.chat import ChatMessage, Undecodable
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import decode, plain
from worker.classifier.model_files import DEMO_MODEL
from worker.scores import Scores

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "worker/commands/demo/messages.jsonl").read_bytes().splitlines()
END = 8191

# Users of the sample chat who ask for something forbidden, or threaten. All other users are harmless.
MEANT_TO_BE_FLAGGED = frozenset(
    [
        "rage_quit_r",
        "lockless",
        "gg_ez_pete",
        "ganga_total",
        "skimmer_x",
        "dark_quill",
        "promptsmith",
        "lexi_copy",
        "copy_cat",
        "script_kid99",
        "nullroute",
        "pirate_pete",
        "ghostwallet",
        "boost_seller",
        "five_finger",
        "roms4all",
        "stalker_ish",
        "tilted_tom",
        "lefty_foe",
        "grey_market",
        "carjack_q",
        "heist_hal",
        "night_owl_3",
        "lab_rat_00",
        "dan_mode",
        "scam_academy",
    ]
)


def judged() -> list[ChatMessage]:
    messages = []
    for line in LINES:
        try:
            messages.append(decode(line, plain()))
        except Undecodable:
            continue
    return messages


def scores_by_the_card(folder: Path, texts: list[str]) -> Scores:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
            rows.append(torch.sigmoid(model(**encoded).logits)[0].numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def scored() -> list[tuple[ChatMessage, Scores]]:
    messages = [message for message in judged() if message.text.strip()]
    return list(zip(messages, scores_by_the_card(DEMO_MODEL, [m.text for m in messages]), strict=True))


def test_transformers_loads_it_and_it_has_the_twelve_categories_in_the_cards_order() -> None:
    model = AutoModelForSequenceClassification.from_pretrained(DEMO_MODEL, dtype=torch.float32)
    assert type(model).__name__ == "Qwen2ForSequenceClassification"
    assert [model.config.id2label[k] for k in range(12)] == list(CATEGORY_SLUGS)
    assert [model.config.label2id[slug] for slug in CATEGORY_SLUGS] == list(range(12))
    assert tuple(model.score.weight.shape) == (12, 128)
    assert model.config.problem_type == "multi_label_classification"
    assert not model.config.use_sliding_window
    assert model.config.pad_token_id == model.config.eos_token_id == END


def test_the_folder_is_small_enough_for_the_repository() -> None:
    assert sum(path.stat().st_size for path in DEMO_MODEL.iterdir()) < 5_000_000


def test_both_ways_to_load_the_tokenizer_give_the_same_ids() -> None:
    slow, fast = AutoTokenizer.from_pretrained(DEMO_MODEL), Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    texts = [message.text for message in judged()]
    texts += ["", " ", "cafe\u0301", "it's  12345\r\n\n\tYOU'LL\u200b", f"typed {END} <|endoftext|> here", "ﷺ𝕏"]
    assert [slow(text)["input_ids"] for text in texts] == [fast.encode(text).ids for text in texts]
    assert slow.eos_token_id == slow.pad_token_id == END


def test_the_sample_chat_gives_296_verdicts_and_4_dead_letters_with_four_reasons() -> None:
    reasons = []
    for line in LINES:
        try:
            decode(line, plain())
        except Undecodable as fault:
            reasons.append(fault.reason)
    assert len(LINES) == 300
    assert sorted(reasons) == ["no_text", "not_an_object", "not_json", "wrong_type"]
    assert len({message.message_id for message in judged()}) == 296
    assert sum(not message.text.strip() for message in judged()) == 1


def test_the_lone_half_of_an_emoji_is_judged() -> None:
    assert rb'"nice one \ud83d"' in b"\n".join(LINES)
    assert "nice one \ufffd" in [message.text for message in judged()]


def test_it_flags_exactly_the_messages_of_the_sample_chat_that_should_be_flagged(
    scored: list[tuple[ChatMessage, Scores]],
) -> None:
    meant = [scores.max() > 0.5 for message, scores in scored if message.user_id in MEANT_TO_BE_FLAGGED]
    mild = [scores.max() > 0.5 for message, scores in scored if message.user_id not in MEANT_TO_BE_FLAGGED]
    assert len(meant) == 27
    assert sum(meant) >= 15
    assert sum(mild) <= 0.03 * len(mild)


def test_the_top_category_of_a_request_to_ignore_instructions_is_jailbreak(
    scored: list[tuple[ChatMessage, Scores]],
) -> None:
    (scores,) = [scores for message, scores in scored if "gnore all previous instructions" in message.text]
    assert CATEGORY_SLUGS[int(scores.argmax())] == "jailbreak_prompts"


def test_the_area_under_the_curve_counts_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.9], dtype=np.float32)
    assert auc(scores, np.array([False, False, True, True])) == pytest.approx(0.875)
    assert np.isnan(auc(scores, np.array([True, True, True, True])))


def test_new_figures_replace_only_the_old_figures_of_the_card(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    shutil.copy(DEMO_MODEL / "README.md", card)
    write_card(card, "OLD FIGURES")
    write_card(card, "NEW FIGURES")
    before, after = (DEMO_MODEL / "README.md").read_text("utf-8"), card.read_text("utf-8")
    assert "NEW FIGURES" in after
    assert "OLD FIGURES" not in after
    assert after.partition("<!--")[0] == before.partition("<!--")[0]
    assert after.rpartition("-->")[2] == before.rpartition("-->")[2]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_the_script_trains_on_labelled_lines_and_writes_a_folder_that_transformers_loads(
    tmp_path: Path, suffix: str
) -> None:
    rng = random.Random(3)  # noqa: S311 - test data, not a secret
    rows = [
        {"text": " ".join(rng.choices(["tea", "cake", "rain"], k=6)), "labels": [rng.choice([0, 1, None])] * 12}
        for _ in range(120)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    data = tmp_path / f"rows{suffix}"
    data.write_bytes(gzip.compress(lines) if suffix.endswith("gz") else lines)
    main([str(data), str(tmp_path / "out"), "--epochs", "1", "--vocabulary", "270"])
    scores = scores_by_the_card(tmp_path / "out", ["tea and cake", "雨"])
    assert scores.shape == (2, 12)
    assert ((scores > 0) & (scores < 1)).all()
    assert "| hate |" in (tmp_path / "out" / "README.md").read_text("utf-8")
