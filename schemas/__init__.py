"""The wire: what goes over Kafka, in and out. Knows nothing of the worker."""
