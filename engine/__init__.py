"""How do workflows advance? The core decides, the store keeps, the runtime acts."""
