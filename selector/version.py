"""The one place that knows the version of shotsmith."""

__version__ = "0.1.0"
