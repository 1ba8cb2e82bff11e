"""Paired comparison of methods, and its report."""
