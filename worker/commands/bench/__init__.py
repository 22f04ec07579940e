"""The command `bench`: how fast the user's own model is on this machine, and what limits it; needs no Kafka."""

from worker.commands.bench.command import run
from worker.commands.bench.measures import whole
from worker.commands.bench.texts import built_in_texts

__all__ = ["built_in_texts", "run", "whole"]
