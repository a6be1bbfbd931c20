"""Which states and transitions are there? One file a machine, its table first."""
