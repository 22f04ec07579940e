"""An archive of Kafka's classes for the tests: with it a broker or a tool of Kafka starts in half the time.

Without it each JVM reads, checks and links some ten thousand classes, and the suite starts many JVMs. ``make test``
writes the archive once, into ``build``. It depends on the Java and on the jars. Users have none: a command like
``demo`` starts too few JVMs, and the worker could not tell a changed archive from its own.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer

from worker.commands.broker.embedded import JVM, running_broker
from worker.commands.broker.jars import KAFKA_VERSION, jars, java
from worker.errors import KafkaFatalError
from worker.kafka.topics import TopicSpec, create_topics

BUILD = Path(__file__).parents[1] / "build"
JAVA_OPTIONS = "JDK_JAVA_OPTIONS"
"""The variable whose options each ``java`` adds to its own. The programs that the tests start inherit it.

Java divides it at spaces outside quotes, and a path may have spaces."""
KAFKA_S_MAX = 60


def archive() -> Path:
    """Return the path of the archive, which may not exist, for this Java."""
    release = (java().parents[1] / "release").read_bytes()
    return BUILD / f"kafka-{KAFKA_VERSION}-{hashlib.sha256(release).hexdigest()[:12]}.aot"


def use_archive() -> None:
    """Let all Java processes of the tests use the archive, if there is one. Java ignores one that does not fit."""
    try:
        path = archive()
    except KafkaFatalError:
        return  # no Java
    if path.exists() and JAVA_OPTIONS not in os.environ:
        os.environ[JAVA_OPTIONS] = f'"-XX:AOTCache={path}" -Xlog:aot*=off'


def write_archive(path: Path) -> None:
    """Let a broker work, and write the classes that it used into the archive.

    Raises:
        KafkaFatalError: The broker does not start.
        KafkaException: The broker does not work.
        SubprocessError: Java could not write the archive.
        OSError: The folder can't be written.
    """
    class_path = os.pathsep.join(str(jar) for jar in jars(print))
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        classes, written = Path(folder) / "classes", Path(folder) / path.name
        os.environ[JAVA_OPTIONS] = f'-XX:AOTMode=record "-XX:AOTConfiguration={classes}" -Xlog:aot*=off'
        with running_broker(data_dir=Path(folder) / "data") as broker:
            _use(broker.bootstrap_servers)
        del os.environ[JAVA_OPTIONS]
        create = ("-XX:AOTMode=create", f"-XX:AOTConfiguration={classes}", f"-XX:AOTCache={written}")
        subprocess.run(
            [str(java()), *JVM, *create, "-Xlog:aot*=off", "-cp", class_path], check=True, stdout=subprocess.DEVNULL
        )
        written.rename(path)  # atomic: another run never sees a part of it


def _use(servers: str) -> None:
    """Write a transaction and read it in a group."""
    client = {"bootstrap.servers": servers}
    create_topics(client, [TopicSpec(name="one", partitions=1)])
    producer = Producer({**client, "transactional.id": "one"})
    producer.init_transactions(KAFKA_S_MAX)
    producer.begin_transaction()
    producer.produce("one", b"one")
    producer.commit_transaction(KAFKA_S_MAX)
    consumer = Consumer({**client, "group.id": "one", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["one"])
    for message in consumer.consume(1, KAFKA_S_MAX):
        consumer.commit(message=message, asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    try:
        if not archive().exists():
            print("An archive of Kafka's classes for the tests ...")  # noqa: T201 - for people
            write_archive(archive())
    # The tests also run without it, and one that needs a Kafka says again what is wrong with Kafka.
    except (KafkaFatalError, KafkaException, OSError, subprocess.SubprocessError) as error:
        print(f"without the archive: {error}", file=sys.stderr)  # noqa: T201 - for people
