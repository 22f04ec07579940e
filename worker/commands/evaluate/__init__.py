"""The command `evaluate`: how well the worker judges, measured on texts of the user. Read ``command.py`` first."""
