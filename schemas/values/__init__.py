"""Values inside records: payloads, calls, durations, failures."""
