"""Laws of the loss: areas, memory kernels, features, terms, the forms of replay, and the registry of laws."""
