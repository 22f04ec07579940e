"""Errors, by who must act next: the record, the transaction, the process.

A record's fault is data: the record becomes a dead letter (``records.DeadLetterReason``). A transaction's fault
never leaves ``session``: it is an event of the table in ``transaction``. Every other fault is a ``FatalError``: it
ends the process with an exit code, and its message says what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that docs/contract.md promises."""

    DONE = 0
    OTHER = 1
    CONFIGURATION = 2
    KAFKA = 3
    MODEL = 4
    PROTECTED = 5


class FatalError(Exception):
    """Ends the process; nothing is committed after it is raised.

    Attributes:
        exit_code: What the orchestrator sees.
    """

    exit_code = ExitCode.OTHER


def not_utf8(error: UnicodeDecodeError) -> tuple[int, int, str]:
    """Return where a file is not UTF-8, and what to do.

    Args:
        error: What decoding the whole file has raised.

    Returns:
        The line and the column of the first wrong byte, both from 1, and a sentence without its full stop. The
        sentence has no byte of the file, which may be a secret.
    """
    before = error.object[: error.start]
    column = len(before.rpartition(b"\n")[2].decode()) + 1
    return before.count(b"\n") + 1, column, "this character is not UTF-8; save the file as UTF-8"


class ConfigurationError(FatalError):
    """The settings are wrong: the message has one line for each fault."""

    exit_code = ExitCode.CONFIGURATION


class KafkaFatalError(FatalError):
    """Kafka refuses this worker: permission, authentication, a missing topic, fencing, or errors that repeat."""

    exit_code = ExitCode.KAFKA


class ModelError(FatalError):
    """The model is missing or has an unexpected shape, or the device is broken."""

    exit_code = ExitCode.MODEL


class DataProtectionError(FatalError):
    """The worker stopped itself to protect data."""

    exit_code = ExitCode.PROTECTED
