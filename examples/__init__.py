"""What can be built with Penstock? Programs that run, each proven by a test."""
