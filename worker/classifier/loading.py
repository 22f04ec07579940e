"""Load a classifier by the model's name: find it, verify it, move it to its device, warm it up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars

from worker.classifier.checkpoint import check_token_bound, load_weights, read_config
from worker.classifier.device import choose_placement
from worker.classifier.model_files import REVISION_DIGITS, ModelFolder, as_model_error, find_model, find_tokenizer
from worker.classifier.packed import select_attention
from worker.classifier.provenance import verified_digest
from worker.classifier.scoring import Classifier
from worker.classifier.tokenizer import PROBE, open_tokenizer
from worker.errors import ModelError
from worker.reported import ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model to load, and where it runs.

    Attributes:
        path: A folder, a hub name, or ``demo``.
        revision: Revision of a hub name; None is its main branch.
        tokenizer: A folder or a hub name; None is the model's own tokenizer.
        tokenizer_revision: Revision of a tokenizer on the hub.
        digest: The first 16 to 64 hexadecimal digits that the content digest must have; None accepts any.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        tokens_max: Largest number of tokens of a text, including special tokens. A longer text is cut.
        threads: Compute threads on the CPU; None is one less than the CPUs of the cgroup.
        batch_tokens_max: Largest number of tokens of a batch; None to let the warm-up find it.
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
    """Find a model, verify that it is a DuoGuard, and warm it up.

    Args:
        options: Which model to load, and where it runs.
        say: Receives lines of progress for people.

    Raises:
        ModelError: The model is missing, damaged, changed or not a DuoGuard, or this machine does not have its
            device.
    """
    _silence_the_libraries()
    placement = choose_placement(device=options.device, dtype=options.dtype, threads=options.threads)
    torch.set_num_threads(placement.threads)
    say(f"looking for the model {options.path}")
    source = find_model(options.path, options.revision)
    config = read_config(source.folder)
    check_token_bound(config, options.tokens_max)
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
    with as_model_error(f"The model can't be moved to {placement.device}: free its memory, or {elsewhere}"):
        model.to(placement.device)
    attention, remarks = select_attention(model, encoder.encode([PROBE])[0].tokens)
    classifier = Classifier(
        identity=ModelIdentity(
            name=source.name,
            revision=digest[:REVISION_DIGITS],
            digest=digest,
            commit=commit,
            dtype=str(placement.dtype).removeprefix("torch."),
            device=str(placement.device),
            attention=attention,
            tokenizer=encoder.library,
            threads=placement.threads,
        ),
        batch_tokens_max=options.batch_tokens_max and max(options.batch_tokens_max, options.tokens_max),
        fallbacks=placement.fallbacks
        + remarks
        + _borrowed(source, tokens_from, options.tokenizer)
        + encoder.fallbacks,
        model=model,
        encoder=encoder,
    )
    say(f"warming up on {placement.device}")
    classifier.warm_up()
    return classifier


def _silence_the_libraries() -> None:
    """Silence progress bars and reports, which would break a log of one line for each event.

    What matters in them is refused or logged elsewhere.
    """
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()


def _commit(source: ModelFolder, revision: str | None) -> str | None:
    """Return the hub's commit; None when it is not known.

    Raises:
        ModelError: The folder does not hold the wanted revision.
    """
    if source.files is not None and revision is not None and revision != source.commit:
        raise ModelError(
            f"WORKER_MODEL__REVISION is {revision}, but {source.folder} holds commit {source.commit or 'unknown'}: "
            f"unset it, or fetch that revision: WORKER_MODEL__REVISION={revision} moderation-worker model fetch "
            f"{source.name} FOLDER"
        )
    return source.commit


def _borrowed(model: ModelFolder, tokenizer: ModelFolder, named: str | None) -> tuple[str, ...]:
    if named is not None or tokenizer is model:
        return ()
    return (f"the model has no tokenizer of its own: the tokenizer of its base model is used ({tokenizer.name})",)
