#!/bin/sh
# PROGRAM ARGUMENTS: runs it with a /dev/shm of its own. The handler keeps its private places there, and sweeps those
# of killed runs; tests look at what is left there. So runs side by side must not see each other's. Only root can.
set -eu
# shellcheck disable=SC2016  # the inner shell expands it
exec unshare --mount sh -eu -c 'mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm && exec "$@"' - "$@"
