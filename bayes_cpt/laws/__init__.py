"""What a law says of a run: areas, memory kernels, the terms of the loss, and the registry of laws."""
