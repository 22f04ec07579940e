"""The command `broker`: a real Apache Kafka from Python packages alone. Demo, proof and tests use it too."""
