"""What does `penstock`, or `python -m penstock`, do? It runs the command line."""

from __future__ import annotations

import sys

from penstock.hosting import interrupts


def main() -> None:
    """Run the command that was typed, and exit with its code; with 130 when it is interrupted, at any moment."""
    interrupts.end_at_once()  # first of all, for imports take a while
    from penstock.cli.root import penstock

    try:
        interrupts.raise_them()
        code = penstock.main(prog_name="penstock", standalone_mode=False)
    except KeyboardInterrupt:  # another one, while the first was being told
        code = interrupts.INTERRUPTED
    interrupts.end_at_once()
    sys.exit(code)


if __name__ == "__main__":
    main()
