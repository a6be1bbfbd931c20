"""Tests that mirror `topics/`."""
