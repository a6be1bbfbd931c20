"""A sans-IO shard that decides, and a driver that moves records, commits and writes stores."""
