"""The command `replay`: copies input messages, or dead letters, in transactions. Read ``copying.py`` first.

A run has a name. The group ``GROUP.replay.NAME`` holds how far the run has come. Each transaction commits copies
and positions together. So a run that was killed goes on where it was, and no record is copied twice.
"""
