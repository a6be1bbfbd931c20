"""What does `penstock`, or `python -m penstock`, do? It runs the command line."""

from __future__ import annotations

from penstock.cli.root import penstock


def main() -> None:
    """Run the command that was typed, and exit with its code."""
    penstock.main(prog_name="penstock")


if __name__ == "__main__":
    main()
