"""What an operator reads when the producer's errors end the process, or prevent every commit. Pure."""

from worker.kafka.publisher_options import VARIABLES, PublisherOptions
from worker.kafka.rejected_batches import TOO_LARGE, TopicFault
from worker.kafka.transaction import Event, Failure

_HINTS = {
    "INVALID_TIMESTAMP": "This machine's clock differs from the brokers' clock, or the topic's "
    "message.timestamp.before.max.ms or message.timestamp.after.max.ms is too short: compare the clocks.",
    "NOT_ENOUGH_REPLICAS": "The topic has fewer in-sync replicas than its min.insync.replicas: start the brokers "
    "that are down.",
    "INVALID_PRODUCER_ID_MAPPING": "The brokers' transactional.id.expiration.ms is shorter than the pauses between "
    "transactions: raise it.",
}


def why_it_ends(event: Event, failure: Failure, options: PublisherOptions, hidden: str | None) -> str:
    """Return why the process must end.

    Args:
        event: The last event. Any but FENCED and INSTANCE_TAKEN follows an UNAUTHORIZED.
        failure: The error of Kafka.
        options: The names to show.
        hidden: A topic that this principal may not describe; None if there is none, or the worker has not asked.
    """
    name = options.transactional_id
    match event:
        case Event.FENCED:
            return (
                f"another live process uses the transactional id {name!r} (WORKER_KAFKA__TRANSACTIONAL_ID) and has "
                "fenced this worker. Each live worker needs a transactional id of its own, which stays the same "
                f"after a restart. For a second worker on this host: WORKER_KAFKA__TRANSACTIONAL_ID={name}-2 "
                "moderation-worker run. (If an orchestrator restarts both workers, they fence each other again.)"
            )
        case Event.INSTANCE_TAKEN:
            return (
                f"another live process joined the group {options.group_id!r} with the group instance id "
                f"{options.group_instance_id!r} and has fenced this worker: give each worker its own "
                "WORKER_KAFKA__GROUP_INSTANCE_ID"
            )
        case _ if failure.code == "INVALID_TRANSACTION_TIMEOUT":
            return (
                f"Kafka refuses: {failure.text}. WORKER_KAFKA__TRANSACTION_TIMEOUT_MS "
                f"({options.transaction_timeout_ms}) may be at most the brokers' transaction.max.timeout.ms."
            )
        case _:
            grant = _grant(failure.code, options, hidden)
            return f"Kafka refuses: {failure.text}. Grant its principal {grant}."


def _grant(code: str, options: PublisherOptions, hidden: str | None) -> str:
    match code:
        case "CLUSTER_AUTHORIZATION_FAILED":
            return "IDEMPOTENT_WRITE on the cluster, which brokers before 2.8 need"
        case "GROUP_AUTHORIZATION_FAILED":
            return f"READ on group {options.group_id!r} (WORKER_KAFKA__GROUP_ID)"
        case "TRANSACTIONAL_ID_AUTHORIZATION_FAILED":
            return f"WRITE on the transactional id {options.transactional_id!r} (WORKER_KAFKA__TRANSACTIONAL_ID)"
        case "TOPIC_AUTHORIZATION_FAILED" if hidden is not None:
            return f"WRITE on the topic {hidden!r}"
        case "TOPIC_AUTHORIZATION_FAILED":  # committing offsets needs READ
            names = ", ".join(map(repr, options.topics.values()))
            return f"WRITE on the verdict, alert and dead-letter topics ({names}) and READ on the input topics"
        case _:
            return "what deploy/acls.sh lists"


def why_fatal_errors_recur(call: str, failure: Failure, options: PublisherOptions) -> str:
    """Return why the process ends although another producer could replace the last one."""
    return (
        f"fatal errors of the producer come back, the last one in {call}: {failure.text}. Look at the brokers' "
        f"logs for the transactional id {options.transactional_id!r}."
    )


def why_topic_refuses(fault: TopicFault, options: PublisherOptions) -> str:
    """Return which topic refuses every output, and what to look at."""
    output = fault.output
    name = options.topics[output.topic]
    topic = f"the topic {name!r} ({VARIABLES[output.topic]})"
    change = (
        f"kafka-configs.sh --bootstrap-server {options.config['bootstrap.servers']} --alter --entity-type topics "
        f"--entity-name {name} --add-config"
    )
    if output.is_summary:
        return (
            f"{topic} refuses an alert that summarises counted messages, of {output.source.partition} up to offset "
            f"{output.source.offset} ({'MSG_SIZE_TOO_LARGE' if fault.reason == TOO_LARGE else 'INVALID_RECORD'}), "
            "although it may accept other alerts. Compare its max.message.bytes, and any schema that the broker "
            "validates, with schemas/v1/alert.schema.json (field repeat), then start this worker again. Nothing is "
            "lost: the counts are kept with the group's offsets."
        )
    if fault.reason == TOO_LARGE:
        return (
            f"{topic} refuses even a dead letter without its value, for {output.source.partition} at offset "
            f"{output.source.offset} (MSG_SIZE_TOO_LARGE): raise its max.message.bytes ({change} "
            "max.message.bytes=2097152)"
        )
    what = "every record" if output.key is not None else "every record without a key"
    compacted = (
        ""
        if output.key is not None
        else f"A topic with cleanup.policy=compact refuses records without a key: {change} cleanup.policy=delete. "
    )
    return (
        f"{topic} refuses {what} (INVALID_RECORD), the last one for {output.source.partition} at offset "
        f"{output.source.offset}. {compacted}Look at the topic's settings, such as schema validation at the "
        "broker, and at the brokers' logs; moderation-worker check shows what does not fit. Nothing is lost."
    )


def why_nothing_is_committed(
    failure: Failure, abort_failure: Failure | None, attempts: int, waited_ms: int, options: PublisherOptions
) -> str:
    """Return for how long no transaction was committed, why the last one was not, and what delays its abort."""
    abort = f" Its abort is slow or failed too: {_named(abort_failure)}." if abort_failure else ""
    line = (
        f"no transaction has been committed for {waited_ms / 1000:.1f} s, after {attempts} attempts (group "
        f"{options.group_id!r}, transactional id {options.transactional_id!r}). The last attempt failed: "
        f"{_named(failure)}.{abort} Trying again, at most 5 s after each failure."
    )
    hint = _HINTS.get(failure.code)
    return line if hint is None else f"{line} {hint}"


def _named(failure: Failure) -> str:
    return f"{failure.text} ({failure.code})" if failure.text else failure.code
