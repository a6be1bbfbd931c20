"""Benchmarks: rates, latencies and costs of Penstock. README.md describes every row and figure."""
