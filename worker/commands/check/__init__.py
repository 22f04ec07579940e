"""The command `check`: would `run` work here, and how fast? ``items`` says what is looked at."""
