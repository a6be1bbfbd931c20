"""The log: its topics, and two adapters (Kafka, embedded) behind one contract."""
