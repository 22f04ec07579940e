"""What the worker owes each message: from its bytes to tokens, and from its scores to a verdict and an alert.

This wing knows texts, categories, thresholds and the wire. It must not know a broker, or torch. Read ``outputs.py``
first: what a message becomes.
"""
