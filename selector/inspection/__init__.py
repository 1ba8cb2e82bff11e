"""Why an answer came out as it did: what each demonstration does to it, and where the language model looks."""
