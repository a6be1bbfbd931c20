"""Every departure from New York in 2013 as a durable workflow: `python -m examples.flights --days 1`."""
