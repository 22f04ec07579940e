"""Build the parts of moderation from the settings: model, reader, policy, outputs.

The loop has these parts, and commands use them without a loop. The settings are not passed on: each part gets its
own values. The function that needs a slow import (torch) does it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, TypeVar

from schemas import verdict
from worker.errors import ConfigurationError, ExitCode
from worker.loop import Prepare
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import Scorer
from worker.moderation.coalescing import KeyDigest
from worker.moderation.markup import RULES, Markup
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import FixedPolicy, Policy, PolicyWatcher, load_policy, unscored_by
from worker.moderation.preprocessing import prepare, split_by_bytes
from worker.moderation.shapes import (
    TEXT_SHAPE,
    ReadRecord,
    Shape,
    compile_shape,
    load_envelope,
    load_shape,
)
from worker.moderation.text_rows import PLAIN, Encode, LongTexts, RowEncoder, TokenizedText, first_rows_only
from worker.moderation.text_views import PlainText, Vocabulary
from worker.records import ConsumedRecord, PreparedRecord
from worker.reported import DeviceUsage, ModelIdentity
from worker.settings import Settings
from worker.watchdog import Watch

if TYPE_CHECKING:
    from worker.classifier import Classifier
    from worker.moderation.drift_reference import DriftReference, ReferenceText
    from worker.moderation.score_drift import ScoreDrift

VERSION = version("moderation-worker")
PREPARE_MS_MAX, PREPARE_MS_PER_CHARACTER = 60_000, 0.1
"""Longest time to prepare a portion. The slowest megabyte took 5 s, the slowest text 13 us a character."""


class ScoringModel(Scorer, Protocol):
    """The model as the worker uses it: the classifier, or a stub in ``prove``."""

    @property
    def identity(self) -> ModelIdentity:
        """The name, revision, digest and device of the model."""

    @property
    def batch_tokens_max(self) -> int:
        """Largest number of tokens in a batch."""

    @property
    def fallbacks(self) -> Sequence[str]:
        """A sentence for each fall-back, for the start-up lines."""

    @property
    def usage(self) -> DeviceUsage:
        """Work and memory of the device; the owner reads it while the device works."""

    @property
    def long_texts(self) -> LongTexts | None:
        """The tokenizer for windows and the plain view; None for a stub, which scores only what the card scores."""

    def encode(self, texts: Sequence[str]) -> Sequence[TokenizedText]:
        """Return the tokens of each text, in order."""


OpenModel = Callable[[Settings, Callable[[str], None]], ScoringModel]
"""Loads the model; calls the second argument with a line about each slow step."""


def now_rfc3339() -> str:
    """Return the wall-clock time for outputs; no decision depends on it."""
    return verdict.rfc3339(time.time_ns() // 1_000_000)


_Loaded = TypeVar("_Loaded")


def _from_variable(variable: str, value: str, load: Callable[[str], _Loaded]) -> _Loaded:
    """Return what a setting names. A message that names no line of a file names the variable."""
    try:
        return load(value)
    except ConfigurationError as error:
        message = str(error)
        raise ConfigurationError(
            message if message.startswith(f"{value}:") else f"{variable}: {message}"
        ) from error


def input_shape(settings: Settings) -> Shape:
    """Return the shape of the settings, with the pointers of the settings.

    Raises:
        ConfigurationError: The shape is unknown, or the shape's file is wrong.
    """
    given = settings.input
    if given.format == "text":
        return TEXT_SHAPE
    pointers = {
        "text": given.text_pointer,
        "message_id": given.message_id_pointer,
        "channel_id": given.channel_id_pointer,
        "user_id": given.user_id_pointer,
        "sent_at": given.sent_at_pointer,
    }
    places = {name: [pointer] for name, pointer in pointers.items() if pointer is not None}
    shape = _from_variable("WORKER_INPUT__SHAPE", given.shape, load_shape)
    if places and shape.wire == "text":
        raise ConfigurationError(
            f"WORKER_INPUT__{next(iter(places)).upper()}_POINTER: wants nothing with the shape {given.shape}, "
            "because its wire is text and there is no JSON to point into"
        )
    return shape.model_copy(update=places)


def input_reader(settings: Settings) -> ReadRecord:
    """Return the function that reads a record by the shape of the settings.

    Raises:
        ConfigurationError: The shape or the envelope is unknown, or the shape's file is wrong.
    """
    given, shape = settings.input, input_shape(settings)
    envelope = None if given.envelope is None else load_envelope(given.envelope)
    return compile_shape(shape, envelope=envelope, bytes_max=given.bytes_max)


def open_classifier(settings: Settings, say: Callable[[str], None]) -> "Classifier":
    """Load, verify and warm up the model; this imports torch.

    Raises:
        ModelError: The model is missing or does not fit; the message says what to do.
    """
    from worker.classifier import ModelOptions, load  # noqa: PLC0415 - takes seconds

    given = settings.model
    bound = settings.batch.tokens_max
    return load(
        ModelOptions(
            path=given.path,
            revision=given.revision,
            tokenizer=given.tokenizer,
            tokenizer_revision=given.tokenizer_revision,
            digest=given.digest,
            device=given.device,
            dtype=given.dtype,
            tokens_max=given.tokens_max,
            threads=given.threads,
            batch_tokens_max=None if bound == "auto" else bound,
        ),
        say,
    )


Guard = Callable[[str, int, ExitCode], Watch]
"""Makes the watch of a thread from its name, the longest block in milliseconds, and the exit code after a hang."""


def unguarded(*_: object) -> Watch:
    """Watch nothing."""
    return lambda _: nullcontext()


PolicyInForce = Callable[[], Policy]
"""Returns the policy in force."""


def plain_text_of(settings: Settings, model: ScoringModel, markup: Markup | None = None) -> PlainText | None:
    """Return what makes the plain view: without the markup of the texts, and with the words of the tokenizer.

    None: the settings do not want the plain view, or the model is a stub. The vocabulary takes half a second.

    Args:
        settings: The settings.
        model: An open model.
        markup: The markup of the texts; None: that of the shape of the settings.
    """
    if model.long_texts is None or PLAIN not in settings.text.views:
        return None
    rules = RULES[markup or input_shape(settings).markup]
    return PlainText.of(Vocabulary(*model.long_texts.word_pieces()), markup=rules)


def text_encoder(settings: Settings, model: ScoringModel, plain_text: PlainText | None) -> Encode:
    """Return the tokenizer that makes the rows of each text: the views and windows that the settings want."""
    given, characters_max = settings.text, settings.input.characters_max
    tokenizer = model.long_texts
    if tokenizer is None or (plain_text is None and given.windows_max == 1):
        return first_rows_only(model.encode, characters_max)
    return RowEncoder(
        encode_first_rows=model.encode,
        long_texts=tokenizer,
        plain_text=plain_text,
        overlap=given.window_overlap_tokens or 0,
        windows_max=given.windows_max,
        characters_max=characters_max,
    ).encode


def make_prepare(
    settings: Settings,
    model: ScoringModel,
    cache: ScoreCache,
    guard: Guard = unguarded,
    policy: PolicyInForce | None = None,
    *,
    markup: Markup | None = None,
) -> Prepare:
    """Return the loop's ``Prepare``: it prepares a chunk in portions, because decoded messages take more memory.

    The policy in force says which messages of a chunk are scored; None: all. ``markup`` is that of the texts; None:
    that of the shape.
    """
    read = input_reader(settings)
    encode = text_encoder(settings, model, plain_text_of(settings, model, markup))
    longest_ms = int(min(settings.input.characters_max, settings.input.bytes_max) * PREPARE_MS_PER_CHARACTER)
    watch = guard("preparer", PREPARE_MS_MAX + longest_ms, ExitCode.OTHER)

    def prepared(chunk: Sequence[ConsumedRecord]) -> list[PreparedRecord]:
        records = []
        find_unscored = None if policy is None else unscored_by(policy())
        for portion in split_by_bytes(chunk):
            with watch("decoding and tokenising messages"):
                records += prepare(portion, read=read, encode=encode, cache=cache, find_unscored=find_unscored)
        return records

    return prepared


def make_policy(settings: Settings) -> Policy:
    """Return the policy of the settings, or the one in the file that the settings name.

    Raises:
        ConfigurationError: The file cannot be read, or it is wrong. The message has a line for each fault.
    """
    policy = settings.policy
    if policy.path is not None:
        return _from_variable("WORKER_POLICY__PATH", policy.path, load_policy)
    return Policy.of(policy.threshold, policy.thresholds, policy.version, settings.alert.text)


PolicyHolder = PolicyWatcher | FixedPolicy
"""Holds the policy in force."""


def open_policy(settings: Settings) -> PolicyHolder:
    """Return the watcher of the policy file, or the holder of the policy of the settings.

    Raises:
        ConfigurationError: As for ``make_policy``.
    """
    path = settings.policy.path
    if path is None:
        return FixedPolicy(make_policy(settings))
    return _from_variable("WORKER_POLICY__PATH", path, PolicyWatcher)


def make_outputs(settings: Settings, model: ScoringModel, policy: Policy | None = None) -> OutputBuilder:
    """Return the builder of the output records, with a policy or the one of the settings."""
    return OutputBuilder(
        model={
            "name": model.identity.name,
            "revision": model.identity.revision,
            "commit": model.identity.commit,
            "dtype": model.identity.dtype,
        },
        policy=policy or make_policy(settings),
        read=input_reader(settings),
        record_bytes_max=settings.kafka.record_bytes_max,
        worker_version=VERSION,
        header_names=settings.output.headers,
        cloudevents=settings.output.cloudevents,
        key_digest=KeyDigest(coalescing_secret(settings)),
        truncated_alerts=settings.text.truncated == "alert",
    )


def coalescing_secret(settings: Settings) -> bytes:
    """Return the secret of the alerts' keys: the same for all workers of a group, and after each restart."""
    secret = settings.coalescing.secret
    return (settings.kafka.group_id if secret is None else secret.get_secret_value()).encode()


def open_drift_reference(settings: Settings) -> "DriftReference | None":
    """Return the drift reference of the settings; None, and import nothing, if they name none.

    Raises:
        ConfigurationError: The file cannot be read, or it is not a drift reference.
    """
    if settings.drift.reference is None:
        return None
    from worker.moderation.drift_reference import read_reference  # noqa: PLC0415 - only if it is configured

    return read_reference(settings.drift.reference)


def reference_text(settings: Settings) -> "ReferenceText":
    """Return the settings that decide which parts of a text are scored, as a drift reference names them."""
    from worker.moderation.drift_reference import ReferenceText  # noqa: PLC0415 - only if it is configured

    return ReferenceText(
        tokens_max=settings.model.tokens_max,
        characters_max=settings.input.characters_max,
        views=list(settings.text.views),
        windows_max=settings.text.windows_max,
        window_overlap_tokens=settings.text.window_overlap_tokens or 0,
        markup=input_shape(settings).markup,
    )


def score_drift(reference: "DriftReference | None", settings: Settings, model: ScoringModel) -> "ScoreDrift | None":
    """Return what compares committed scores with the reference; None without a reference.

    Raises:
        ConfigurationError: The reference was made with another model, or with other settings of the text.
    """
    if reference is None:
        return None
    from worker.moderation.score_drift import ScoreDrift  # noqa: PLC0415 - only if it is configured

    reference.require(revision=model.identity.revision, text=reference_text(settings))
    return ScoreDrift(reference)
