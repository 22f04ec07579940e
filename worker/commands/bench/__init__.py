"""The command `bench`: how fast the user's model is on this machine, and what limits it. It needs no Kafka."""
