"""The command `bench`: how fast the user's own model is on this machine, and what limits it; needs no Kafka."""

from worker.bench.command import run
from worker.bench.measures import whole
from worker.bench.texts import samples

__all__ = ["run", "samples", "whole"]
