"""Intake of tasks: consumption, progress, commits, and handover of moving partitions."""
