"""The ``strandline`` command, also as ``python -m strandline``."""

import signal
import sys

from strandline import _strandline


def main() -> int:
    """Run the command line in ``sys.argv`` and return its exit code."""
    # Python's own handler only sets a flag that is read once Rust has returned, so Ctrl-C would do nothing. The default
    # one ends the process, and a command that wants to end with care puts its own in place.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _strandline.main(["strandline", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
