"""Processors and workers inside a process."""
