"""Apache Kafka's own command-line tools: the jars of the bundled broker, and one more jar for the tools."""

import importlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from worker.commands.broker.embedded import JVM
from worker.commands.broker.jars import KAFKA_VERSION, jars, java

TOOLS = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}


def install_tools(folder: Path) -> None:
    """Write a script for each tool, as in the folder ``bin`` of Kafka's distribution."""
    class_path = os.pathsep.join(str(jar) for jar in [*jars(lambda _: None), _tools_jar()])
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    for name, main in TOOLS.items():
        command = shlex.join([str(java()), *JVM, quiet, "-cp", class_path, main])
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)


def _tools_jar() -> Path:
    """Return the jar of the tools. Download it once (0.7 MB) next to the broker's jars."""
    jar = jars(lambda _: None)[0].parent.parent / f"kafka-tools-{KAFKA_VERSION}.jar"
    if not jar.exists():
        maven = importlib.import_module("jgo.maven")
        parse = importlib.import_module("jgo.parse")
        with tempfile.TemporaryDirectory(dir=jar.parent) as staging:
            context = maven.MavenContext(repo_cache=Path(staging))
            [coordinate] = parse.Endpoint.parse(f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}").coordinates
            fetched = shutil.move(context.create_dependency(coordinate).artifact.resolve(), staging)
            Path(fetched).rename(jar)  # atomic: an interrupted download leaves no jar
    return jar
