"""Does Penstock keep its promises whatever happens, and whenever? A seeded simulation of everything around the engine.

The engine's own code runs here (drivers, shards, stores, restore, takeover); the log, the disks, the clocks, clients
and workers around it are simulated, and one seed decides all that happens. `python -m tests.simulation --seeds 200`.
"""
