"""The trial run: an embedded Kafka, a bundled model, sample messages."""
