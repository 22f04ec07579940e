"""The command `classify`: judges texts, or messages as JSON Lines; needs no Kafka. Read ``lines`` first."""
