"""One story a command, in the words of the domain."""
