"""Heads: components, one file each."""
