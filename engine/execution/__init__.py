"""Execution of workflow code as coroutines."""
