"""The engine: the core decides, the store keeps rows, the runtime reads, commits and writes."""
