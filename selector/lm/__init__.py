"""Language models: strings in, log-probabilities out."""
