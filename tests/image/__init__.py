"""The image: what is in it, and whole commands run by a container engine, with practice hosts in other containers."""
