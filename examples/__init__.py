"""Example programs, each run by a test."""
