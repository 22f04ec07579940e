"""The command `demo`: the worker on an embedded Kafka, with the bundled model and sample messages."""
