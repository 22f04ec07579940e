"""A folder whose files differ from its provenance.json, or from WORKER_MODEL__DIGEST, is refused."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small_models import make_model, options
from worker.classifier import load
from worker.classifier.model_files import model_digests, tokenizer_digests
from worker.errors import ExitCode, ModelError

TOKENIZER = "tokenizer.json"


def write_provenance(folder: Path) -> None:
    """Write provenance.json as ``model fetch`` does."""
    files = {**model_digests(folder), **tokenizer_digests(folder)}
    known = {"model": {"name": "DuoGuard/DuoGuard-0.5B", "commit": "c" * 40}, "files": files}
    (folder / "provenance.json").write_text(json.dumps(known))


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("fetched"), "qwen2")
    write_provenance(folder)
    return folder


@pytest.fixture
def folder(fetched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fetched, tmp_path / "model"))


def quiet(_: str) -> None:
    """Ignore progress."""


def refusal(path: Path, **changes: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(options(path, **changes), quiet)
    assert caught.value.exit_code == ExitCode.MODEL
    assert "\n" not in str(caught.value)
    return str(caught.value)


def append(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write("\n")

    return change


def flip_a_byte_of_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "config": (append("config.json"), ("config.json has the SHA-256", "lists", "changed since it was fetched")),
    "weights": (flip_a_byte_of_the_weights, ("model.safetensors has the SHA-256", "lists")),
    "tokenizer": (append(TOKENIZER), ("tokenizer.json has the SHA-256", "lists")),
    "tokenizer's settings": (append("tokenizer_config.json"), ("tokenizer_config.json has the SHA-256",)),
    "a tokenizer file more": (
        write("added_tokens.json", '{"kill": 5}'),
        ("added_tokens.json would be loaded", "does not list it", "remove the file"),
    ),
    "a tokenizer file less": (remove(TOKENIZER), ("lacks tokenizer.json", "which its provenance.json lists")),
    "a model file less": (remove("config.json"), ("lacks config.json", "which its provenance.json lists")),
    "an unfinished download": (
        write("provenance.json", '{"model": {"name": "a/b", "commit": "c"}, "files": {}}'),
        ("provenance.json lists no file", "has not finished"),
    ),
    "a list that is none": (write("provenance.json", "[]"), ("provenance.json can't be read",)),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_a_folder_that_differs_from_its_provenance_is_refused(
    folder: Path, change: Callable[[Path], object], says: tuple[str, ...]
) -> None:
    change(folder)
    message = refusal(folder)
    for words in (*says, str(folder), "fetch"):
        assert words in message


def test_a_changed_file_is_refused_with_both_digests(folder: Path) -> None:
    listed = tokenizer_digests(folder)[TOKENIZER]
    append(TOKENIZER)(folder)
    message = refusal(folder)
    assert listed in message
    assert tokenizer_digests(folder)[TOKENIZER] in message
    assert "remove provenance.json if the change is intended" in message


def test_a_fetched_folder_is_accepted_and_so_is_a_folder_without_provenance(folder: Path) -> None:
    assert load(options(folder), quiet).identity.commit == "c" * 40
    append("config.json")(folder)
    (folder / "provenance.json").unlink()
    assert load(options(folder), quiet).identity.commit is None


def test_a_tokenizer_in_another_folder_is_verified_by_the_provenance_of_that_folder(
    folder: Path, fetched: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(fetched, tmp_path / "other"))
    flip_a_byte_of_the_weights(other)  # these weights are not loaded
    assert load(options(folder, tokenizer=str(other)), quiet).identity.commit == "c" * 40
    append(TOKENIZER)(other)
    assert f"{other / TOKENIZER} has the SHA-256" in refusal(folder, tokenizer=str(other))


@pytest.mark.parametrize("digits", [16, 40, 64])
def test_a_digest_pins_the_content_of_a_folder(fetched: Path, digits: int) -> None:
    identity = load(options(fetched), quiet).identity
    assert identity.digest.startswith(identity.revision)
    assert len(identity.digest) == 64
    pinned = load(options(fetched, digest=identity.digest[:digits].upper()), quiet).identity
    assert pinned == identity


def test_another_content_than_the_pinned_one_is_refused_with_both_values(folder: Path) -> None:
    digest = load(options(folder), quiet).identity.digest
    append(TOKENIZER)(folder)
    write_provenance(folder)  # anyone who can write the files can also write the list
    message = refusal(folder, digest=digest)
    assert f"WORKER_MODEL__DIGEST is {digest}" in message
    assert load(options(folder), quiet).identity.digest in message


def test_the_weights_are_hashed_once(folder: Path) -> None:
    opened: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))

    watching = True
    sys.addaudithook(note)  # an audit hook cannot be removed
    load(options(folder), quiet)
    watching = False
    # The loader maps the file from Rust, which this hook does not see.
    assert opened.count(str(folder / "model.safetensors")) == 1
