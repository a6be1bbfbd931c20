"""The machines of the core, one file each: table, decide, evolve, effects and delivery."""
