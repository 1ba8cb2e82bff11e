"""Embeddings of text and the index over them."""
