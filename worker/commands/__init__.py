"""The commands. ``cli.py`` lists them with one line each; read it first.

A command ``NAME`` is the module ``NAME.py``, or ``NAME/command.py`` where it has a folder. It offers two functions:
``add_arguments(parser)`` and ``run(options)``. ``cli.py`` imports only the chosen command, so a command may import
what it needs at the top. The exception is ``run``: it hears signals before it imports PyTorch.
"""
