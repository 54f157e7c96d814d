"""Stand-ins for k0s and systemctl, as they run on a practice host."""
