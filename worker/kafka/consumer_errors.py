"""What the worker does about each error that Kafka reports to the consumer: one table, with a reason for each code.

Source of the codes: https://kafka.apache.org/protocol, and librdkafka's ``rdkafka.h`` for those that begin with an
underscore.
"""

from enum import Enum


class ErrorAction(Enum):
    """What follows from an error of the consumer."""

    FIND_POSITION = "the position cannot be read: find another one"
    CHECK_TOPIC = "a topic seems to be missing: ask the brokers, and stop if it stays missing"
    STOP = "the error lasts until a person changes something: end the process"
    WAIT = "librdkafka goes on trying: log the error, once an interval"


CONSUMER_ERRORS: dict[str, ErrorAction] = {
    # The partition has no committed offset, and auto.offset.reset=error leaves the choice to this worker.
    "_AUTO_OFFSET_RESET": ErrorAction.FIND_POSITION,
    "_NO_OFFSET": ErrorAction.FIND_POSITION,
    # Retention has deleted the record at the position, or the log was truncated before it.
    "OFFSET_OUT_OF_RANGE": ErrorAction.FIND_POSITION,
    # Not trusted alone: a broker that has just started reports topics that it has not loaded yet.
    "_UNKNOWN_TOPIC": ErrorAction.CHECK_TOPIC,
    "UNKNOWN_TOPIC_OR_PART": ErrorAction.CHECK_TOPIC,
    # The topic was deleted. It may have been created again, with another id.
    "UNKNOWN_TOPIC_ID": ErrorAction.CHECK_TOPIC,
    # The name is not a valid topic name.
    "TOPIC_EXCEPTION": ErrorAction.STOP,
    # A permission is missing. librdkafka would ask for ever.
    "TOPIC_AUTHORIZATION_FAILED": ErrorAction.STOP,
    "GROUP_AUTHORIZATION_FAILED": ErrorAction.STOP,
    "CLUSTER_AUTHORIZATION_FAILED": ErrorAction.STOP,
    # session.timeout.ms is outside the range that the broker accepts.
    "INVALID_SESSION_TIMEOUT": ErrorAction.STOP,
    # The other members of the group use another protocol, or share no assignment strategy with this one.
    "INCONSISTENT_GROUP_PROTOCOL": ErrorAction.STOP,
    # The broker does not have the assignor that group.remote.assignor names (KIP-848).
    "UNSUPPORTED_ASSIGNOR": ErrorAction.STOP,
    # The broker is too old for a request or a feature that the settings need.
    "UNSUPPORTED_VERSION": ErrorAction.STOP,
    "_UNSUPPORTED_FEATURE": ErrorAction.STOP,
    # group.max.size members have joined already.
    "GROUP_MAX_SIZE_REACHED": ErrorAction.STOP,
    # Another live process has joined with the same group.instance.id. To join again would fence that process.
    "FENCED_INSTANCE_ID": ErrorAction.STOP,
    # The previous process with this group.instance.id has not left yet. Its session ends by itself (KIP-848).
    "UNRELEASED_INSTANCE_ID": ErrorAction.WAIT,
    # librdkafka cannot use this client any more: every later call returns the same error.
    "_FATAL": ErrorAction.STOP,
}
"""The action for each code. librdkafka goes on trying after any other code (``WAIT``)."""
