"""Execution of tasks and publication of their results."""
