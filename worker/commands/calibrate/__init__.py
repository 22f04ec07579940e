"""The command `calibrate`: thresholds from labelled texts, as a policy file. Read ``thresholds.py`` first."""
