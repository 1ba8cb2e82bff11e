"""Orderers: in which order."""
