"""The learned selection policy: featuriser, network and artifact, for training and serving alike."""
