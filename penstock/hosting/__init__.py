"""Hosting: processors and workers inside a process."""
