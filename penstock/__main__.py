"""Entry point of the command line: `penstock` or `python -m penstock`."""

from __future__ import annotations

import sys

from penstock.hosting import interrupts


def main() -> None:
    """Run the command line and exit with its code, 130 after an interrupt at any time."""
    interrupts.exit_immediately()  # before the slow imports
    from penstock.cli.root import penstock

    try:
        interrupts.raise_keyboard_interrupt()
        code = penstock.main(prog_name="penstock", standalone_mode=False)
    except KeyboardInterrupt:  # a second one, while the first was being reported
        code = interrupts.INTERRUPTED
    interrupts.exit_immediately()
    sys.exit(code)


if __name__ == "__main__":
    main()
