"""Find a model's files (in a folder, the bundled demo model or the hub's cache), and hash their content."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from worker.errors import ModelError

CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
PROVENANCE_FILE = "provenance.json"
REVISION_DIGITS = 16
DEMO_MODEL = Path(__file__).parent / "demo_model"

# The DuoGuards come without tokenizer files. They use their base model's tokenizer, which the code in the cards
# names. Source: the model cards, "How to Use", step 1.
BASE_TOKENIZERS = {
    "DuoGuard-0.5B": "Qwen/Qwen2.5-0.5B",
    "DuoGuard-1.5B-transfer": "Qwen/Qwen2.5-1.5B",
    "DuoGuard-1B-Llama-3.2-transfer": "meta-llama/Llama-3.2-1B",
}

# The first match counts, so subclasses come before their base classes.
_HUB_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (
        GatedRepoError,
        "is gated: accept its licence at {page}, then set HF_TOKEN to an access token of that account",
    ),
    (
        RepositoryNotFoundError,
        "is not on the hub, or is private: check the name; a private one needs HF_TOKEN",
    ),
    (RevisionNotFoundError, "has no revision {revision} on the hub"),
    (HFValidationError, "is neither a folder on this machine nor a valid name of a repository on the hub"),
    (
        HfHubHTTPError,
        "can't be downloaded from {page}: the hub refused or failed ({kind}); try again, or set HF_TOKEN",
    ),
    (OfflineModeIsEnabled, "is not in the hub's cache on this machine, and HF_HUB_OFFLINE forbids asking the hub"),
    (
        LocalEntryNotFoundError,
        "is not in the hub's cache on this machine, and the hub can't be asked (HF_HUB_OFFLINE, network)",
    ),
    (OSError, "can't be stored or reached: {kind}: {error}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder with files of a model or a tokenizer.

    Attributes:
        name: The name on the hub, when it is known; otherwise the folder's name.
        folder: The folder on this machine.
        commit: The hub's commit; None when it is not known.
        files: File name to the digest that the folder's provenance.json lists; empty without provenance.json. None
            for a folder in the hub's cache.
    """

    name: str
    folder: Path
    commit: str | None
    files: Mapping[str, str] | None


@contextmanager
def as_model_error(sentence: str) -> Iterator[None]:
    """Turn any error inside into a ModelError with this sentence and the first line of the error."""
    try:
        yield
    except ModelError:
        raise
    # tokenizers raises Exception itself, safetensors a subclass, and transformers any type for a bad file.
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), "")
        raise ModelError(f"{sentence}. {type(error).__name__}: {first_line}") from error


def find_model(path: str, revision: str | None) -> ModelFolder:
    """Return the folder that ``WORKER_MODEL__PATH`` names; download a hub name into the hub's cache.

    Raises:
        ModelError: The folder does not exist, or the hub does not give the model.
    """
    if path == "demo":
        return ModelFolder(name="demo", folder=DEMO_MODEL, commit=None, files={})
    return _find(path, revision, (CONFIG_FILE, *WEIGHT_FILES, *TOKENIZER_FILES), "WORKER_MODEL__PATH")


def find_tokenizer(model: ModelFolder, tokenizer: str | None, revision: str | None) -> ModelFolder:
    """Return the folder of the model's tokenizer: the named one, or the model's own, or its base model's.

    Raises:
        ModelError: There is no tokenizer, or not in that revision.
    """
    own = tokenizer is None and (model.folder / TOKENIZER_FILE).is_file()
    found = model if own else _other_tokenizer(model, tokenizer, revision)
    if revision is not None and (own or found.files is not None):
        raise ModelError(
            f"WORKER_MODEL__TOKENIZER_REVISION is {revision}, but the tokenizer is what {found.folder} holds: "
            f"unset it, or name a repository of the hub in WORKER_MODEL__TOKENIZER ({tokenizer or 'not set'})."
        )
    return found


def _other_tokenizer(model: ModelFolder, tokenizer: str | None, revision: str | None) -> ModelFolder:
    wanted = (CONFIG_FILE, *TOKENIZER_FILES)
    if tokenizer is not None:
        found = _find(tokenizer, revision, wanted, "WORKER_MODEL__TOKENIZER")
        if not (found.folder / TOKENIZER_FILE).is_file():
            raise ModelError(f"WORKER_MODEL__TOKENIZER: {tokenizer} holds no {TOKENIZER_FILE}.")
        return found
    remedy = (
        f"Set WORKER_MODEL__TOKENIZER (not set) to a folder with {TOKENIZER_FILE} and tokenizer_config.json, or "
        "make one folder with everything where there is a network: moderation-worker model fetch "
        f"{model.name} FOLDER"
    )
    base = BASE_TOKENIZERS.get(model.name.rsplit("/", 1)[-1])
    if base is None:
        raise ModelError(f"{model.folder} holds no tokenizer ({TOKENIZER_FILE}). {remedy}")
    try:
        return _find(base, revision, wanted, "its base model's")
    except ModelError as error:
        raise ModelError(f"{model.folder} holds no tokenizer ({TOKENIZER_FILE}); {error} {remedy}") from error


def _find(path: str, revision: str | None, files: Sequence[str], variable: str) -> ModelFolder:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _described(folder.resolve())
    # A hub name is OWNER/NAME. Anything else must be a path.
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", path):
        raise ModelError(
            f"{variable}: there is no folder {path}. Make one with moderation-worker model fetch NAME FOLDER."
        )
    cached = download(path, revision, files, variable)
    return ModelFolder(name=path, folder=cached, commit=cached.name, files=None)


def download(
    name: str, revision: str | None, files: Sequence[str], variable: str, into: Path | None = None
) -> Path:
    """Download files of a repository on the hub, and return their folder.

    The folder is ``into``, or a folder of the hub's cache that is named after the commit.

    Raises:
        ModelError: The hub or the disk refuses. The next attempt uses the files that have arrived.
    """
    with hub_errors_as_model_errors(name, revision, variable):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files), local_dir=into))


@contextmanager
def hub_errors_as_model_errors(name: str, revision: str | None, variable: str) -> Iterator[None]:
    """Turn each error of the hub into a ModelError that says what to do."""
    try:
        yield
    # The errors of the HTTP client differ by the version of the hub's library: httpx's or its successor's.
    except Exception as error:
        sentence = next(
            (text for kind, text in _HUB_ERRORS if isinstance(error, kind)), "can't be downloaded: {kind}"
        )
        page = f"{constants.ENDPOINT}/{name}"
        what = sentence.format(page=page, revision=revision, kind=type(error).__name__, error=error)
        raise ModelError(f"{variable}: {name} {what}.") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the model's weights, in the order in which transformers looks for them.

    Raises:
        ModelError: There is no file that is safe to open, or the index names a file that does not exist.
    """
    single, index = folder / WEIGHT_FILES[0], folder / WEIGHT_FILES[1]
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelError(
            f"{folder} holds no {single.name} and no {index.name}. Pickled weights (pytorch_model.bin) can run "
            "code when they are opened and are never loaded: convert them with transformers' save_pretrained."
        )
    with as_model_error(f"{index} can't be read: fetch it again"):
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks weights that its index names: {', '.join(missing)}. Fetch them again.")
    return [index, *(folder / name for name in shards)]


def digests(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    return {path.name: _sha256(path) for path in files}


def model_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the model's files: configuration and weights."""
    return digests([folder / CONFIG_FILE, *weight_files(folder)])


def tokenizer_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the tokenizer's files."""
    return digests([folder / name for name in TOKENIZER_FILES if (folder / name).is_file()])


def content_digest(files: Mapping[str, str]) -> str:
    """Return a SHA-256 over the digests of many files. It does not depend on where the files are."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def revision_of(files: Mapping[str, str]) -> str:
    """Return the beginning of the content digest, as verdicts name it."""
    return content_digest(files)[:REVISION_DIGITS]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(folder: Path) -> ModelFolder:
    """Return a folder with what ``model fetch`` recorded in it.

    Raises:
        ModelError: provenance.json can't be read, its download has not finished, or a file that it lists is
            missing.
    """
    provenance = folder / PROVENANCE_FILE
    if not provenance.is_file():
        return ModelFolder(name=folder.name, folder=folder, commit=None, files={})
    with as_model_error(f"{provenance} can't be read: fetch the folder again"):
        known = json.loads(provenance.read_text())
        files = {str(name): str(digest) for name, digest in known["files"].items()}
        source = ModelFolder(
            name=known["model"]["name"], folder=folder, commit=known["model"]["commit"], files=files
        )
    remedy = f"Finish it: moderation-worker model fetch {source.name} {folder}"
    if not files:
        raise ModelError(f"{provenance} lists no file: the download has not finished. {remedy}")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}, which its {PROVENANCE_FILE} lists. {remedy}")
    return source
