"""Seeded simulation of everything around the engine, which checks that the engine keeps its invariants under faults.

The engine's own code runs here (drivers, shards, stores, restore, takeover); the log, disks, clocks, clients and
workers around it are simulated, and one seed determines every event. `python -m tests.simulation --seeds 200`.
"""
