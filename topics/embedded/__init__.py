"""How does Penstock run without a broker? The same log on one SQLite file, shared by all processes of one machine."""

from penstock.topics.embedded.log import MEMORY, EmbeddedLog

__all__ = ["MEMORY", "EmbeddedLog"]
