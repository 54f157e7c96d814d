"""What the operator asks for: environment and command line, as typed values."""
