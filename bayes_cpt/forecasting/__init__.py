"""From posterior draws to curves of planned runs."""
