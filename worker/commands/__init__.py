"""The commands besides ``run``, which imports none of them.

Each command's parser and code live with the command. Read ``cli.py`` first: it lists them.
"""
