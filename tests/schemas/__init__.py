"""Tests that mirror `schemas/`."""
