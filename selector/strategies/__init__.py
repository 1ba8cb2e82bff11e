"""Selectors: which demonstrations."""
