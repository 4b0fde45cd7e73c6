"""Fusions: components, one file each."""
