"""The command `prove`: an experiment with workers of its own and faults, and an audit of every message.

Read ``experiment`` first. The command `demo` uses the same processes, feed, observers and audit.
"""
