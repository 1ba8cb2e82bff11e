"""Answers that are reasoned out in text: chains of thought, votes over them, and questions taken apart."""
