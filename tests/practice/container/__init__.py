"""A practice host that is a container: the stand-in k0s sees the real paths, and any k0sctl may log in."""
