"""Workers: consume task records, run activities, publish result records."""
