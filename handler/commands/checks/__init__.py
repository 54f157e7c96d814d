"""What `check` looks at, one file an area; none of them changes anything."""
