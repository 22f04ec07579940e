"""``model fetch``: download a model and its tokenizer at known commits into one folder that works offline."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import HfApi

from worker.classifier.checkpoint import read_config
from worker.classifier.model_files import (
    BASE_TOKENIZERS,
    CONFIG_FILE,
    PROVENANCE_FILE,
    TOKENIZER_FILE,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    as_model_error,
    content_digest,
    download,
    hub_errors_as_model_errors,
    model_digests,
    tokenizer_digests,
)
from worker.errors import ModelError


def fetch(
    name: str,
    folder: Path,
    say: Callable[[str], None],
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    tokenizer_revision: str | None = None,
) -> None:
    """Download what ``WORKER_MODEL__PATH`` needs into a folder. After an interruption, run it again to continue.

    Args:
        name: Name of the model on the hub.
        folder: The folder; it is created when it does not exist.
        say: Receives lines of progress.
        revision: A branch, a tag or a commit of the model; None is the main branch. The commit that it names now is
            recorded in provenance.json.
        tokenizer: A repository on the hub; None is the model's own tokenizer, or its base model's.
        tokenizer_revision: A branch, a tag or a commit of the tokenizer.

    Raises:
        ModelError: The hub or the disk refuses, the model is not a DuoGuard, or the folder holds another model.
            Files that have arrived stay.
    """
    commit, model_files = _resolve(name, revision)
    tokenizer = tokenizer or (
        name if TOKENIZER_FILE in model_files else BASE_TOKENIZERS.get(name.rsplit("/", 1)[-1])
    )
    if tokenizer is None:
        raise ModelError(
            f"{name} comes without a tokenizer, and its base model is not known: set "
            "WORKER_MODEL__TOKENIZER (not set)."
        )
    tokens_commit, tokens_files = commit, model_files
    if tokenizer != name or tokenizer_revision is not None:
        tokens_commit, tokens_files = _resolve(tokenizer, tokenizer_revision)
    pinned: dict[str, object] = {
        "model": {"name": name, "commit": commit},
        "tokenizer": {"name": tokenizer, "commit": tokens_commit},
    }
    with as_model_error(f"{folder} can't be used: name an empty one that can be written"):
        _claim(folder, pinned)
    # Small files that can be refused come first, the gigabytes last.
    say(f"tokenizer  {tokenizer} at commit {tokens_commit}")
    download(tokenizer, tokens_commit, TOKENIZER_FILES, "tokenizer", into=folder)
    say(f"model      {name} at commit {commit}")
    download(name, commit, [CONFIG_FILE], "model", into=folder)
    read_config(folder)
    download(name, commit, WEIGHT_FILES, "model", into=folder)
    weights, tokens = model_digests(folder), tokenizer_digests(folder)
    _refuse_others(folder, [*(weights.keys() - model_files), *(tokens.keys() - tokens_files)])
    _write(folder, {**pinned, "files": {**weights, **tokens}})
    # The hub's library keeps the state of interrupted downloads here.
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    digest = content_digest({**weights, **tokens})
    say(f"done       WORKER_MODEL__PATH={folder} needs no network now; WORKER_MODEL__DIGEST={digest} pins it")


def _resolve(name: str, revision: str | None) -> tuple[str, frozenset[str]]:
    """Return the commit that a revision names now, and the names of its files."""
    with hub_errors_as_model_errors(name, revision, "model fetch"):
        info = HfApi().model_info(name, revision=revision)
    if info.sha is None:
        raise ModelError(
            f"The hub does not give the commit of {name}: set another WORKER_MODEL__REVISION "
            f"({revision or 'not set'})."
        )
    return info.sha, frozenset(file.rfilename for file in info.siblings or ())


def _refuse_others(folder: Path, names: Sequence[str]) -> None:
    """Refuse files that would be loaded although they did not come from the hub."""
    if names:
        raise ModelError(
            f"{folder} holds {', '.join(sorted(names))}, which would be loaded but did not come from the hub: "
            "remove it, then run model fetch again."
        )


def _claim(folder: Path, pinned: dict[str, object]) -> None:
    """Claim the folder for this model. Refuse a folder with another model: files of two models would be mixed."""
    folder.mkdir(parents=True, exist_ok=True)
    provenance = folder / PROVENANCE_FILE
    if provenance.is_file():
        known = json.loads(provenance.read_text(encoding="utf-8"))
        is_ours = {key: known.get(key) for key in pinned} == pinned
    else:
        is_ours = not any(next(folder.glob(file), None) for file in (CONFIG_FILE, *WEIGHT_FILES, *TOKENIZER_FILES))
    if not is_ours:
        raise ModelError(f"{folder} holds another model, or another commit of this one: name an empty folder.")
    _write(folder, {**pinned, "files": {}})


def _write(folder: Path, provenance: dict[str, object]) -> None:
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
