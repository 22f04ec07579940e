"""Runs a command that may not outlive whoever started this: ``python guard.py FOLDER COMMAND ...``.

Standard input is the cord. Each byte on it is a signal to pass on; its end means that the other side is gone,
by whatever death, SIGKILL included: then the command is killed, and FOLDER, unless empty, is removed. It is a
process of its own and not ``PR_SET_PDEATHSIG``: that follows the *thread* that forked, needs code between fork
and exec, and is Linux's alone. It imports nothing of ours, so that it starts in milliseconds.
"""

import os
import shutil
import subprocess
import sys
import threading


def main() -> int:
    """Holds the command until it ends or the cord does; returns its exit code, as a shell would count it."""
    folder, *command = sys.argv[1:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own broker's command line
    cut = threading.Event()

    def obey() -> None:
        while order := os.read(0, 1):
            child.send_signal(order[0])
        cut.set()
        child.kill()

    threading.Thread(target=obey, daemon=True).start()
    code = child.wait()
    if folder and cut.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
