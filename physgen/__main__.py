"""``python -m physgen`` is the command ``physgen``."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; a Ctrl-C while libraries are still imported is no traceback."""
    try:
        from physgen.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
