"""The probabilistic model: model files and priors, discrepancy, noise, likelihood, the PyMC model."""
