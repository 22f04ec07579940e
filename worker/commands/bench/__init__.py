"""The command `bench`: how fast the user's own model is on this machine, and what limits it; needs no Kafka."""
