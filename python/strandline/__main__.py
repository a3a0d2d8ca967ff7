"""The ``strandline`` command, also as ``python -m strandline``."""

import signal
import sys

from strandline import _strandline


def main() -> int:
    """Run the command line in ``sys.argv`` and return its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["demo"]:
        # The demo is written in Python, as a user would write it.
        from strandline import demo

        return demo.main(arguments[1:])
    from strandline import _parquet

    if _parquet.wanted(arguments):
        return _parquet.main(arguments)
    # Python's own handler only sets a flag that is read once Rust has returned, so Ctrl-C would do nothing. The default
    # one ends the process, and a command that wants to end with care puts its own in place.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _strandline.main(["strandline", *arguments])


if __name__ == "__main__":
    sys.exit(main())
