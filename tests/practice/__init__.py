"""A practice cluster: stand-ins for k0sctl and k0s that talk over real SSH and behave as the recorded real ones."""
