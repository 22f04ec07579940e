"""The command `shape`: lists the built-in shapes, and tries shapes on events. It changes nothing."""
