"""Compare a topic's settings with the records that the worker writes. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_CLOCK_DIFFERENCE_MS = 60_000  # the clock of a machine without a time service drifts by seconds a day


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRecords:
    """The records that the worker writes.

    Attributes:
        record_bytes_max: Size of the largest record, without the protocol's framing.
        framing_bytes_max: Largest size of the framing of a record.
        transaction_timeout_ms: Longest time that a record waits for its broker.
    """

    record_bytes_max: int
    framing_bytes_max: int
    transaction_timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A setting of a topic that does not fit.

    Attributes:
        what: One sentence with the setting's value.
        change: The argument of ``--add-config`` of ``kafka-configs.sh --alter``.
        stops: Whether the worker can publish nothing with this setting. If False, it can publish most records.
    """

    what: str
    change: str
    stops: bool


def mismatches(config: Mapping[str, str], replicas: int, written: WrittenRecords) -> Iterator[Mismatch]:
    """Yield the settings that do not fit.

    Args:
        config: The topic's settings by name, with the defaults. A setting that the broker does not know is missing.
        replicas: The smallest number of replicas of a partition.
        written: The records that the worker writes to the topic.
    """
    policy = config.get("cleanup.policy", "delete")
    if "compact" in policy:
        yield Mismatch(
            what=f"cleanup.policy is {policy}: the topic rejects records without a key, and keeps only the last "
            "record of each key",
            change="cleanup.policy=delete",
            stops=True,
        )
    bytes_max = written.record_bytes_max + written.framing_bytes_max
    if (limit := _number(config, "max.message.bytes")) is not None and limit < bytes_max:
        yield Mismatch(
            what=f"max.message.bytes is {limit}, below WORKER_KAFKA__RECORD_BYTES_MAX ({written.record_bytes_max}) "
            f"plus {written.framing_bytes_max} for framing: a larger verdict becomes a dead letter",
            change=f"max.message.bytes={bytes_max}",
            stops=False,
        )
    if config.get("message.timestamp.type", "CreateTime") == "CreateTime":
        yield from _clock_mismatches(config, written)
    in_sync = _number(config, "min.insync.replicas") or 1
    if in_sync > replicas:
        yield Mismatch(
            what=f"min.insync.replicas is {in_sync}, with {replicas} replicas: the topic rejects every record",
            change=f"min.insync.replicas={replicas}",
            stops=True,
        )
    elif in_sync == replicas > 1:
        yield Mismatch(
            what=f"min.insync.replicas is {in_sync}, and there are as many replicas: while one of these brokers is "
            "away, the topic rejects every record",
            change=f"min.insync.replicas={replicas - 1}",
            stops=False,
        )


def _clock_mismatches(config: Mapping[str, str], written: WrittenRecords) -> Iterator[Mismatch]:
    least_ms = {
        "message.timestamp.before.max.ms": _CLOCK_DIFFERENCE_MS + written.transaction_timeout_ms,
        "message.timestamp.after.max.ms": _CLOCK_DIFFERENCE_MS,
    }
    for name, least in least_ms.items():
        if (limit := _number(config, name)) is not None and limit < least:
            yield Mismatch(
                what=f"{name} is {limit}: a larger difference of the clocks stops all commits (INVALID_TIMESTAMP)",
                change=f"{name}={least}",
                stops=False,
            )


def _number(config: Mapping[str, str], name: str) -> int | None:
    value = config.get(name)
    return None if value is None else int(value)
