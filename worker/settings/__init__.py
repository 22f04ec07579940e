"""The settings: validated environment variables. Read ``groups`` first: it lists them. ``load`` reads them.

This package knows neither Kafka's client nor the model. The settings are not passed on: ``wiring`` gives each part
its own small dataclass.
"""

from worker.settings.exporters import Exporters
from worker.settings.groups import Settings
from worker.settings.kafka import Config, admin_config, consumer_config, producer_config
from worker.settings.load import LoadedSettings, Need, Origin, load_settings
from worker.settings.view import SettingRow, describe, render, variables_for

__all__ = [
    "Config",
    "Exporters",
    "LoadedSettings",
    "Need",
    "Origin",
    "SettingRow",
    "Settings",
    "admin_config",
    "consumer_config",
    "describe",
    "load_settings",
    "producer_config",
    "render",
    "variables_for",
]
