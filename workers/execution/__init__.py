"""Execution of attempts and publishing of results."""
