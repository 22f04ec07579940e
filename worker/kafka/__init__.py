"""Kafka, as the loop needs it: a member of the consumer group, and one transaction for each publication.

This package knows partitions, offsets, transactions and brokers. It must not know a text, a category or a model: a
record's value is bytes to it. Read ``session.py`` first, then ``transaction.py``, the table of what may go wrong.
"""
