"""The command `compare`: two sets of verdicts on the same messages. Read ``joining.py`` first."""
