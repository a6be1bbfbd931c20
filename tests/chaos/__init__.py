"""Faults on a real broker beside a neighbour workload."""
