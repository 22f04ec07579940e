"""The process: signals first, then the command, then its exit code."""

import sys

from worker.errors import ExitCode, FatalError
from worker.logs import escaped_lines
from worker.watchdog import end


def main() -> None:
    """The entry point of ``moderation-worker`` and ``python -m worker``."""
    if not __debug__:
        print("moderation-worker does not run under -O: its assertions guard your data", file=sys.stderr)  # noqa: T201 - to people
        sys.exit(ExitCode.CONFIGURATION)
    from worker import cli  # noqa: PLC0415 - after the check

    try:
        code = cli.main(sys.argv[1:])
    except FatalError as stop:
        print(escaped_lines(str(stop)), file=sys.stderr)  # noqa: T201 - to people
        code = stop.exit_code
    except BrokenPipeError:  # the reader of our output has left, as head does
        end(ExitCode.OTHER)
    except KeyboardInterrupt:
        code = ExitCode.OTHER
    sys.exit(code)


if __name__ == "__main__":
    main()
