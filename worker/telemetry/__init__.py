"""What is measured and traced, and who gets it: the only place that knows OpenTelemetry."""
