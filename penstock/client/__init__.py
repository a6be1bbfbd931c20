"""Clients: start, signal, await and read workflows."""
