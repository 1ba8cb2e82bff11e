"""Label scores from log-probabilities: scoring functions, calibration, the shared engine."""
