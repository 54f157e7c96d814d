"""A stand-in for k0sctl v0.32.2 that drives its hosts over real SSH and prints what the real one prints."""
