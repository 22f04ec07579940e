"""The command `topics create`: creates the topics that are missing."""

import argparse
import os

from worker.commands.option_values import whole_number
from worker.commands.subcommand import add_subcommand
from worker.commands.terminal import say
from worker.errors import ExitCode
from worker.kafka.topics import contract_topics, create_topics
from worker.settings import Need, admin_config, load_settings

SUMMARY = "Creates the topics that are missing."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `create` with its arguments."""
    create = add_subcommand(parser, "create", SUMMARY, "kafka")
    create.add_argument(
        "--partitions", type=whole_number(1), default=6, help="partitions of each topic (default: 6)"
    )
    create.add_argument(
        "--replication-factor",
        type=whole_number(1, 32_767),
        default=-1,
        help="replicas of each partition (default: the broker's default)",
    )


def run(options: argparse.Namespace) -> ExitCode:
    """Create the topics that are missing, and print a line for each topic.

    Raises:
        FatalError: A setting is wrong, or Kafka did not create a topic.
    """
    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    specs = contract_topics(
        inputs=kafka.input_topics,
        verdicts=kafka.verdict_topic,
        alerts=kafka.alert_topic,
        dead_letters=kafka.dead_letter_topic,
        partitions=options.partitions,
        replication_factor=options.replication_factor,
    )
    for state in create_topics(admin_config(kafka), specs):
        say(str(state))
    return ExitCode.DONE
