"""Where are the rows of a shard kept? In RocksDB or in memory, rebuilt from the changelog."""
