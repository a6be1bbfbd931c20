"""Patterns for workflow code."""
