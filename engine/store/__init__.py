"""Stores of a shard's rows, in RocksDB or in memory, rebuilt from the changelog."""
