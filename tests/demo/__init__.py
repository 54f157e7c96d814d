"""The demo: a cluster's life, typed line by line."""
