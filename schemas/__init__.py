"""The wire: decode the values of input records, and encode the values of outputs. Imports nothing of the worker."""
