"""Where is it said? The log: its topics, and the two adapters behind one contract."""
