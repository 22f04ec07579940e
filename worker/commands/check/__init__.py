"""The command `check`: would `run` work here, and how fast? ``items`` says what is looked at."""

from worker.commands.check.items import check

__all__ = ["check"]
