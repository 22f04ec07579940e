"""The command `labels join`: labelled texts from moderators' decisions. Read ``joining.py`` first.

It joins each decision with its text, read from the input topic. The texts go only to the file that the user names.
"""
