"""Rewirings: components, one file each."""
