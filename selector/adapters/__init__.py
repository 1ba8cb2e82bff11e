"""Demonstrations for other frameworks, one module for each; a framework is imported only with its module."""
