"""Run a command that must not outlive the caller's process: ``python die_with_parent.py FOLDER COMMAND ...``.

Standard input connects this process with the caller. Each byte on it is the number of a signal to pass on to the
command. Its end means that the caller is gone, by whatever death, SIGKILL included. The command is then killed, and
FOLDER, unless the name is empty, is removed.

``PR_SET_PDEATHSIG`` is not used: it follows the *thread* that forked, needs code between fork and exec, and exists
only on Linux. This file imports nothing of the project, so that it starts in milliseconds.
"""

import os
import shutil
import subprocess
import sys
import threading


def main() -> int:
    """Run the command until it or the caller ends; return the command's exit code as a shell counts it."""
    folder, *command = sys.argv[1:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the caller's own command
    caller_gone = threading.Event()

    def pass_signals_on() -> None:
        while number := os.read(0, 1):
            child.send_signal(number[0])
        caller_gone.set()
        child.kill()

    threading.Thread(target=pass_signals_on, daemon=True).start()
    code = child.wait()
    if folder and caller_gone.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
