"""The story of a run: events on their way to a terminal, a log and the JSON report."""
