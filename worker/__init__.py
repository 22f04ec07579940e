"""Read loop.py first: the life of a message is one function there."""
