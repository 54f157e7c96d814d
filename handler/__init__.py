"""Runs the life of a k0s cluster as CI jobs: install, back up, prove, restore."""

__version__ = "1.0.0"
