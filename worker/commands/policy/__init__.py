"""The command `policy`: checks a policy file, shows what it decides, and tries it on stored verdicts."""
