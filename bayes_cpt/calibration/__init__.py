"""Whether a model's posteriors are right on losses simulated from its own prior."""
