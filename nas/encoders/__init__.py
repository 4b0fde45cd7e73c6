"""Encoders: components, one file each."""
