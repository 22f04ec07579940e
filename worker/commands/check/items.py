"""The items of a check, in their order: settings, Kafka, model, drift reference, time for the backlog.

The drift reference is an item only if the settings name one. A file of the settings that cannot be read, or that is
broken, is a fault of the settings: the policy, the shape, the drift reference.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from rich.console import Console

from worker import wiring
from worker.commands.bench.in_memory_loop import messages_per_second
from worker.commands.bench.texts import built_in_texts
from worker.commands.check.kafka_items import BACKLOG, BROKER, SETTINGS, TRANSACTION, KafkaItems
from worker.commands.check.report import Report, Wrong
from worker.errors import ConfigurationError, ExitCode, ModelError
from worker.settings import LoadedSettings, Settings

if TYPE_CHECKING:
    from worker.moderation.drift_reference import DriftReference

MODEL, REFERENCE, HOURS = "model", "drift reference", "time for the backlog"
LEAST_HOURS = 0.01
MEASURE_S = 2


def check(load: Callable[[], LoadedSettings], console: Console, progress: Callable[[str], None]) -> ExitCode:
    """Check everything that `run` needs, and print each item. Join no group and change nothing.

    Args:
        load: Returns the settings; raises ConfigurationError.
        console: Where the items are printed.
        progress: Takes a line about a step that takes long.

    Returns:
        The exit code of the first wrong item, in the order settings, Kafka, model.
    """
    return _Check(Report(console), progress).run(load)


class _Check:
    """One run of the check. It keeps what earlier items found for later items."""

    def __init__(self, report: Report, progress: Callable[[str], None]) -> None:
        self._report = report
        self._progress = progress
        self._settings: Settings  # set by the item SETTINGS; while it is wrong, all items that need it are skipped
        self._kafka: KafkaItems  # as above
        self._reference: DriftReference | None = None  # as above
        self._model: wiring.ScoringModel  # set by the item MODEL
        self._rate = 0.0

    def run(self, load: Callable[[], LoadedSettings]) -> ExitCode:
        """Check all items, in order."""
        check = self._report.check
        check(SETTINGS, lambda: self._load(load), fault=ExitCode.CONFIGURATION)
        if self._report.passed(SETTINGS):
            self._kafka.check()
        else:  # the names of the topics are not known
            for name in (BROKER, "topics", "permissions", TRANSACTION, BACKLOG):
                check(name, str, fault=ExitCode.KAFKA, needs=(SETTINGS,))
        check(MODEL, self._measure, fault=ExitCode.MODEL, needs=(SETTINGS,))
        if self._reference is not None:
            check(REFERENCE, self._compare_reference, fault=ExitCode.CONFIGURATION, needs=(MODEL,))
        check(HOURS, self._hours, fault=ExitCode.OTHER, needs=(BACKLOG, MODEL))
        return self._report.exit_code

    def _load(self, load: Callable[[], LoadedSettings]) -> str:
        try:
            loaded = load()
            self._settings = loaded.settings
            self._kafka = KafkaItems(self._settings, self._report)
            self._reference = wiring.open_drift_reference(self._settings)
        except ConfigurationError as error:
            faults = str(error).splitlines()
            raise Wrong(
                "\n".join(("wrong", *faults)),
                "correct them in the environment, in WORKER_SECRETS_DIR or in .env (moderation-worker run --help)",
            ) from error
        except KafkaException as error:
            text = re.sub('value "[^"]*"', "value", error.args[0].str())  # the value may be a secret
            raise Wrong(
                f"librdkafka rejects a property: {text}", "correct it in WORKER_KAFKA__PROPERTIES"
            ) from error
        return "\n".join(("valid", *loaded.warnings))

    def _measure(self) -> str:
        try:
            model = self._model = wiring.open_classifier(self._settings, self._progress)
            self._rate = messages_per_second(self._settings, model, built_in_texts(), seconds=MEASURE_S)
        except ModelError as error:
            raise Wrong(str(error)) from error
        identity = model.identity
        what = (
            f"{identity.name} (revision {identity.revision}, digest {identity.digest}) on {identity.device}, "
            f"{identity.dtype}, threads: {identity.threads}; {self._rate:.3g} messages per second on this machine, "
            "measured with short chat messages"
        )
        return "\n".join((what, *model.fallbacks))

    def _compare_reference(self) -> str:
        try:
            wiring.score_drift(self._reference, self._settings, self._model)
        except ConfigurationError as error:
            raise Wrong(str(error)) from error
        return f"{self._settings.drift.reference}: made with this model and with these settings of the text"

    def _hours(self) -> str:
        if not self._kafka.backlog_messages:
            return "none, because there is no backlog"
        hours = self._kafka.backlog_messages / self._rate / 3600
        shown = f"{hours:.2f}" if hours >= LEAST_HOURS else f"less than {LEAST_HOURS}"
        return f"{shown} hours at {self._rate:.3g} messages per second, if no new messages arrive"
