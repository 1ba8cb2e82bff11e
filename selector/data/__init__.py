"""Rows to pools and tasks: loading, splitting, bundled assets."""
