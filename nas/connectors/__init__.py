"""Connectors: components, one file each."""
