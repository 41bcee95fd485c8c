"""Independent jobs: run in threads or on a cluster, kept on disk as they end, with models that can be sent."""
