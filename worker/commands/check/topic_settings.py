"""Does a topic take what the worker writes? Compares the topic's settings with what the worker needs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_CLOCKS_APART_MS = 60_000  # machines without a time service drift by seconds a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the worker writes.

    Attributes:
        record_bytes_max: The largest record, without the protocol's framing.
        framing_bytes_max: The framing of a record.
        transaction_timeout_ms: The longest time that a record waits for its broker.
    """

    record_bytes_max: int
    framing_bytes_max: int
    transaction_timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A setting that does not fit.

    Attributes:
        what: One sentence with the setting's value.
        change: What to give to ``kafka-configs.sh --alter`` as ``--add-config``; empty: another command is needed.
        stops: Whether the worker can't work so. If not, it can't work in some cases.
    """

    what: str
    change: str
    stops: bool


def mismatches(config: Mapping[str, str], replicas: int, written: Written) -> Iterator[Mismatch]:
    """Gives what does not fit.

    Args:
        config: The topic's settings by name, with the defaults; what a broker does not know is missing.
        replicas: The smallest number of replicas of a partition.
        written: What the worker writes into it.
    """
    policy = config.get("cleanup.policy", "delete")
    if "compact" in policy:
        yield Mismatch(
            what=f"cleanup.policy is {policy}: records without a key are refused, and of each key only the last "
            "record is kept",
            change="cleanup.policy=delete",
            stops=True,
        )
    bytes_max = written.record_bytes_max + written.framing_bytes_max
    if (limit := _number(config, "max.message.bytes")) is not None and limit < bytes_max:
        yield Mismatch(
            what=f"max.message.bytes is {limit}, below WORKER_KAFKA__RECORD_BYTES_MAX ({written.record_bytes_max}) "
            f"with {written.framing_bytes_max} of framing: a larger verdict becomes a dead letter",
            change=f"max.message.bytes={bytes_max}",
            stops=False,
        )
    if config.get("message.timestamp.type", "CreateTime") == "CreateTime":
        yield from _clock_mismatches(config, written)
    in_sync = _number(config, "min.insync.replicas") or 1
    if in_sync > replicas:
        yield Mismatch(
            what=f"min.insync.replicas is {in_sync}, but there are {replicas} replicas: every record is refused",
            change=f"min.insync.replicas={replicas}",
            stops=True,
        )
    elif in_sync == replicas > 1:
        yield Mismatch(
            what=f"min.insync.replicas is {in_sync}, and there are as many replicas: without one of these brokers "
            "every record is refused",
            change=f"min.insync.replicas={replicas - 1}",
            stops=False,
        )


def _clock_mismatches(config: Mapping[str, str], written: Written) -> Iterator[Mismatch]:
    least_ms = {
        "message.timestamp.before.max.ms": _CLOCKS_APART_MS + written.transaction_timeout_ms,
        "message.timestamp.after.max.ms": _CLOCKS_APART_MS,
    }
    for name, least in least_ms.items():
        if (limit := _number(config, name)) is not None and limit < least:
            yield Mismatch(
                what=f"{name} is {limit}: a clock that is off by more stops all commits (INVALID_TIMESTAMP)",
                change=f"{name}={least}",
                stops=False,
            )


def _number(config: Mapping[str, str], name: str) -> int | None:
    value = config.get(name)
    return None if value is None else int(value)
