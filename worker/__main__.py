"""The process: run a command, and exit with its exit code."""

import sys

from worker.errors import ExitCode, FatalError
from worker.logs import escaped_lines
from worker.watchdog import end


def main() -> None:
    """Run the command line of ``moderation-worker`` or ``python -m worker``."""
    if not __debug__:
        print("moderation-worker does not run under -O: its assertions guard your data", file=sys.stderr)  # noqa: T201 - for people
        sys.exit(ExitCode.CONFIGURATION)
    from worker import cli  # noqa: PLC0415 - after the check for -O

    try:
        code = cli.main(sys.argv[1:])
    except FatalError as stop:
        print(escaped_lines(str(stop)), file=sys.stderr)  # noqa: T201 - for people
        code = stop.exit_code
    except BrokenPipeError:  # the program that reads the output has ended, as head does
        end(ExitCode.OTHER)
    except KeyboardInterrupt:
        code = ExitCode.OTHER
    sys.exit(code)


if __name__ == "__main__":
    main()
