"""Patterns on top of workflow code."""
