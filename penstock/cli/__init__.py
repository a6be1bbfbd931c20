"""Command line `penstock VERB …`: one function per command."""
