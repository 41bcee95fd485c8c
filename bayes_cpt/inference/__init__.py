"""From a model and curves to posterior draws: density, sampler, diagnostics, fits and fit files."""
