"""Encodings of records: Avro, and JSON for commands."""
