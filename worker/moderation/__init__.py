"""Moderation: from the bytes of a message to token ids, and from its scores to a verdict and an alert.

This package knows texts, categories, thresholds, and the JSON of inputs and outputs. It must not know a broker, or
torch. Read ``outputs.py`` first: it builds the outputs of a message.
"""
