#!/bin/sh
# The base image that the Dockerfile names: image/base.sh [--pull] prints its name when the engine has it.
# Where no registry can be reached it is made from Debian's packages, as close to the official one as can be, under a
# name of its own: no other build takes it for Debian's. DEBIAN_MIRROR names another mirror than deb.debian.org.
#   --pull    asks the registry, or makes it, although the engine has one
set -eu
cd -- "$(dirname -- "$0")"
pull=${1:-}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "image/base.sh: $*" >&2; }

stop() {
  say "$*"
  exit 3
}

# The default of an argument in the Dockerfile.
default() { sed -n "s/^ARG $1=//p" ../Dockerfile; }

has() { ./engine.sh image inspect "$1" > /dev/null 2>&1; }

bootstrap() {
  case $tag in
    13* | trixie*) suite=trixie ;;
    *) stop "which suite is Debian $tag? Tell it in image/base.sh." ;;
  esac
  [ "$(id -u)" = 0 ] || stop 'the base image cannot be pulled, and only root can bootstrap it; as root: ./dev image'
  command -v debootstrap > /dev/null ||
    stop 'the base image cannot be pulled, and debootstrap is missing; on Debian, as root: apt-get install debootstrap'
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  root=$work/root
  debootstrap --force-check-gpg --variant=minbase "$suite" "$root" "$mirror" > "$work/log" 2>&1 || {
    cat "$work/log" >&2
    stop "the base image could not be made from $mirror"
  }
  describe_sources > "$root/etc/apt/sources.list.d/debian.sources"
  # what this machine gave it: its name and its way to the network
  rm -f "$root/etc/apt/sources.list" "$root/etc/hostname" "$root/etc/resolv.conf"
  rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*
  # devices are the engine's own, and nobody but root could unpack them
  tar -C "$root" --exclude './dev/*' --exclude './proc/*' --exclude './sys/*' --numeric-owner -c . |
    ./engine.sh import - "$bootstrapped" > "$work/log" 2>&1 || {
    cat "$work/log" >&2
    stop 'the base image could not be handed to the container engine'
  }
}

describe_sources() {
  cat <<END
Types: deb
URIs: $mirror
Suites: $suite $suite-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: ${mirror%/debian}/debian-security
Suites: $suite-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
}

tag=$(default DEBIAN_TAG)
digest=$(default DEBIAN_DIGEST)
official=$(default DEBIAN_IMAGE):$tag${digest:+@$digest}
bootstrapped=localhost/k0sctl-handler/debian:$tag

if { [ -z "$pull" ] && has "$official"; } || ./engine.sh pull --quiet "$official" > /dev/null 2>&1; then
  echo "$official"
else
  if [ -n "$pull" ] || ! has "$bootstrapped"; then
    say "$official cannot be pulled; bootstrapping $bootstrapped from $mirror"
    bootstrap
  fi
  echo "$bootstrapped"
fi
