"""What every wing may use: array types, files written whole, shipped files, registries."""
