"""A small Concourse that runs a pipeline's jobs: enough of it for our template, and an error for the rest."""
