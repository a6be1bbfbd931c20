"""Reading of task topics and committing of offsets."""
