"""The command line: each command reads files, calls the public API, and writes its results."""
