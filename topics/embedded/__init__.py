"""Embedded log: one SQLite file, shared by all processes of one machine; no broker."""

from penstock.topics.embedded.log import MEMORY, EmbeddedLog

__all__ = ["MEMORY", "EmbeddedLog"]
