"""The command `broker`: a real Apache Kafka from Python packages only. Demo, proof and tests use it too."""
