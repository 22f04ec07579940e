"""The settings: the environment, validated. ``groups`` says what there is, ``load`` where it comes from.

Nothing here travels: the wirer hands each part its own small dataclass.
"""

from worker.settings.exporters import Exporters
from worker.settings.groups import Settings
from worker.settings.kafka import Config, admin_config, consumer_config, producer_config
from worker.settings.load import Loaded, Need, Origin, load_settings
from worker.settings.view import Row, describe, render, variables_for

__all__ = [
    "Config",
    "Exporters",
    "Loaded",
    "Need",
    "Origin",
    "Row",
    "Settings",
    "admin_config",
    "consumer_config",
    "describe",
    "load_settings",
    "producer_config",
    "render",
    "variables_for",
]
