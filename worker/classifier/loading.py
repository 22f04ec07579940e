"""A model's name to a classifier: found, verified, placed, warm."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars

from worker.classifier.checkpoint import check_bound, load_weights, read_config
from worker.classifier.device import place
from worker.classifier.model_files import REVISION_DIGITS, Source, blaming, find_model, find_tokenizer
from worker.classifier.packed import settle
from worker.classifier.provenance import verified_digest
from worker.classifier.scoring import Classifier
from worker.classifier.tokenizer import PROBE, open_tokenizer
from worker.errors import ModelError
from worker.records import ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model, where.

    Attributes:
        path: A folder, a hub name, or ``demo``.
        revision: Of a hub name; None is its main branch.
        tokenizer: A folder or a hub name; None is the model's own.
        tokenizer_revision: Of a tokenizer on the hub.
        digest: The first 16 to 64 hexadecimal digits that the content digest must have; None for any.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        tokens_max: Tokens of a text, special ones included; what is beyond is cut.
        threads: Compute threads on the CPU; None is what the cgroup allows.
        batch_tokens_max: Tokens of a batch; None: what the warm-up finds.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    digest: str | None
    device: str
    dtype: str
    tokens_max: int
    threads: int | None
    batch_tokens_max: int | None


def load(options: ModelOptions, say: Callable[[str], None]) -> Classifier:
    """Finds a model, verifies that it is a DuoGuard, and warms it up.

    Args:
        options: Which model, where.
        say: Takes a line of progress, for people.

    Raises:
        ModelError: It is missing, damaged, changed, of another shape, or its device is not there.
    """
    _silence_the_libraries()
    placement = place(device=options.device, dtype=options.dtype, threads=options.threads)
    torch.set_num_threads(placement.threads)
    say(f"looking for the model {options.path}")
    source = find_model(options.path, options.revision)
    config = read_config(source.folder)
    check_bound(config, options.tokens_max)
    tokens_from = find_tokenizer(source, options.tokenizer, options.tokenizer_revision)
    commit = _commit(source, options.revision)
    say(f"reading {source.folder}")
    digest = verified_digest(source, tokens_from, options.digest)
    encoder = open_tokenizer(
        tokens_from.folder,
        tokens_max=options.tokens_max,
        vocabulary=config.vocab_size,
        bos_wanted=config.model_type == "llama",
    )
    say(f"loading {source.folder}")
    model: Any = load_weights(source.folder, config, placement.dtype)
    elsewhere = f"set another WORKER_MODEL__DEVICE ({options.device})"
    with blaming(f"The model can't be moved to {placement.device}: free its memory, or {elsewhere}"):
        model.to(placement.device)
    attention, remarks = settle(model, encoder.encode([PROBE])[0].tokens)
    classifier = Classifier(
        identity=ModelIdentity(
            name=source.name,
            revision=digest[:REVISION_DIGITS],
            digest=digest,
            commit=commit,
            dtype=str(placement.dtype).removeprefix("torch."),
            device=str(placement.device),
            attention=attention,
            threads=placement.threads,
        ),
        batch_tokens_max=options.batch_tokens_max and max(options.batch_tokens_max, options.tokens_max),
        fallbacks=placement.fallbacks + remarks + _borrowed(source, tokens_from, options.tokenizer),
        model=model,
        encoder=encoder,
    )
    say(f"warming up on {placement.device}")
    classifier.warm_up()
    return classifier


def _silence_the_libraries() -> None:
    """Their bars and reports would break a log of one line an event; what matters in them is refused or said."""
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()


def _commit(source: Source, revision: str | None) -> str | None:
    """The hub's commit, where it is known.

    Raises:
        ModelError: A revision is wanted that a folder does not hold.
    """
    if source.files is not None and revision is not None and revision != source.commit:
        raise ModelError(
            f"WORKER_MODEL__REVISION is {revision}, but {source.folder} holds commit {source.commit or 'unknown'}: "
            f"unset it, or fetch that one: WORKER_MODEL__REVISION={revision} moderation-worker model fetch "
            f"{source.name} FOLDER"
        )
    return source.commit


def _borrowed(model: Source, tokenizer: Source, named: str | None) -> tuple[str, ...]:
    if named is not None or tokenizer is model:
        return ()
    return (f"the model has no tokenizer of its own: its base model's is used ({tokenizer.name})",)
