"""The start of a command that logs: settings first, then the log as the settings want it."""

import logging
import os
import sys
from collections.abc import Mapping

from worker.logs import setup_logging
from worker.settings import LoadedSettings, Need, load_settings


def load(needs: set[Need], environ: Mapping[str, str] = os.environ) -> LoadedSettings:
    """Load the settings, set up the log, and log the settings' warnings.

    Args:
        needs: The parts that the command cannot do without.
        environ: The source of the settings.

    Raises:
        ConfigurationError: A setting is missing or wrong; the log is as it was.
    """
    loaded = load_settings(environ, needs)
    setup_logging(loaded.settings.log.level, loaded.settings.log.format, sys.stderr)
    for warning in loaded.warnings:
        logging.getLogger("worker").warning(warning)
    return loaded
