"""Errors, by who must act next: the record, the transaction, the process.

A record's fault is data: it becomes a dead letter (``records.Fault``). A transaction's fault never leaves
``session``: it is an event of the table in ``transaction``. What is left ends the process, with the exit code
of the contract (``FatalError``), and always with a sentence that says what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The contract's exit codes."""

    DONE = 0
    OTHER = 1
    CONFIGURATION = 2
    KAFKA = 3
    MODEL = 4
    PROTECTED = 5


class FatalError(Exception):
    """The process must end; nothing is committed after it is raised.

    Attributes:
        exit_code: What the orchestrator sees.
    """

    exit_code = ExitCode.OTHER


class ConfigurationError(FatalError):
    """The settings are wrong: one line per fault."""

    exit_code = ExitCode.CONFIGURATION


class KafkaFatalError(FatalError):
    """Kafka won't have us: permission, authentication, a missing topic, a rival, errors that come back."""

    exit_code = ExitCode.KAFKA


class ModelError(FatalError):
    """The model is missing, of another shape, or the device is broken."""

    exit_code = ExitCode.MODEL


class DataProtectionError(FatalError):
    """The worker stopped itself so as not to damage data."""

    exit_code = ExitCode.PROTECTED
