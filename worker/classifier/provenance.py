"""Verify that a model's files are those that were fetched, and those that ``WORKER_MODEL__DIGEST`` names.

A folder that ``model fetch`` made lists the digest of each of its files in provenance.json. The list reveals a file
that was changed by accident, cut short or mixed with another model's files. Anyone who can write the folder can
also write the list. So ``WORKER_MODEL__DIGEST`` pins the content from outside the folder.

Each file is hashed once, for these checks and for the revision in the verdicts.
"""

from collections.abc import Mapping

from worker.classifier.model_files import (
    PROVENANCE_FILE,
    REVISION_DIGITS,
    ModelFolder,
    content_digest,
    model_digests,
    tokenizer_digests,
)
from worker.errors import ModelError


def verified_digest(model: ModelFolder, tokenizer: ModelFolder, pinned: str | None) -> str:
    """Return the content digest of a model and its tokenizer, in 64 hexadecimal digits.

    Args:
        model: The folder of configuration and weights.
        tokenizer: The folder of the tokenizer files.
        pinned: The first 16 to 64 digits that the content digest must have; None accepts any.

    Raises:
        ModelError: provenance.json does not list a file, or lists another digest, or the content digest is not the
            pinned one.
    """
    weights, tokens = model_digests(model.folder), tokenizer_digests(tokenizer.folder)
    _compare(model, weights)
    _compare(tokenizer, tokens)
    digest = content_digest({**weights, **tokens})
    if pinned is not None and not digest.startswith(pinned.lower()):
        raise ModelError(
            f"WORKER_MODEL__DIGEST is {pinned}, but the files of the model in {model.folder} and of its tokenizer "
            f"in {tokenizer.folder} have the digest {digest} (revision {digest[:REVISION_DIGITS]}): load the model "
            "that was meant, or set WORKER_MODEL__DIGEST to this digest if the change is intended."
        )
    return digest


def _compare(source: ModelFolder, found: Mapping[str, str]) -> None:
    """Refuse a file that would be loaded although its digest is not in the folder's provenance.json."""
    if not source.files:
        return
    again = f"moderation-worker model fetch {source.name} {source.folder}"
    for name, digest in found.items():
        listed = source.files.get(name)
        if listed is None:
            raise ModelError(
                f"{source.folder / name} would be loaded, but {PROVENANCE_FILE} does not list it (SHA-256 "
                f"{digest}): remove the file and run {again} again, or remove {PROVENANCE_FILE} if the change is "
                "intended."
            )
        if listed != digest:
            raise ModelError(
                f"{source.folder / name} has the SHA-256 {digest}, but {PROVENANCE_FILE} lists {listed}: the file "
                f"has changed since it was fetched. Run {again} again, or remove {PROVENANCE_FILE} if the change "
                "is intended."
            )
