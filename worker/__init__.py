"""Read loop.py first."""
