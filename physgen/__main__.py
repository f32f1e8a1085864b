"""``python -m physgen`` is the command ``physgen``."""

from __future__ import annotations

import _thread
import sys
import threading

__all__ = ["main"]


def main() -> int:
    """Run the command line; a Ctrl-C while libraries are still imported is no traceback."""
    sys.unraisablehook = _interrupt_again
    try:
        from physgen.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return command()


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Ask again for a Ctrl-C that struck in a destructor or callback, where Python swallows it."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
    elif not sys.is_finalizing():
        # from a thread, once the main one has left the callback
        again = threading.Timer(0.02, _thread.interrupt_main)
        again.daemon = True
        again.start()


if __name__ == "__main__":
    sys.exit(main())
