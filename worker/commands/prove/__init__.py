"""The proof that users run themselves: workers of their own group, faults, and the account of every message."""
