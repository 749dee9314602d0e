"""Agents: users of the library, as anybody's would be."""
