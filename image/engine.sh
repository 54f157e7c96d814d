#!/bin/sh
# The container engine of this machine: `image/engine.sh run --rm IMAGE` is docker or podman with these arguments.
#   --name    tells which one it is; exit 3 where none works
#   --needs   what has to be installed for an image to be built, as lines of "command Debian-package"
# CONTAINER_ENGINE chooses one of them, where both work.
set -eu

has() { PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" > /dev/null 2>&1; }

# A docker command without its daemon is no engine.
works() { has "$1" && "$1" info > /dev/null 2>&1; }

find_engine() {
  for engine in ${CONTAINER_ENGINE:-docker podman}; do
    ! works "$engine" || {
      printf '%s\n' "$engine"
      return 0
    }
  done
  return 3
}

# Names of packages mean Debian, so nothing is asked for where another system's engine works.
needs() {
  case $(find_engine) in
    docker) docker_needs ;;
    podman) podman_needs ;;
    *)
      has podman || echo 'podman podman'
      podman_needs
      ;;
  esac
  ! has apt-get || echo 'debootstrap debootstrap'
}

# What Debian's docker only recommends: from 23 on, the client builds by a plugin.
docker_needs() {
  version=$(docker version --format '{{.Client.Version}}')
  [ "${version%%.*}" -lt 23 ] || docker buildx version > /dev/null 2>&1 ||
    echo '/usr/libexec/docker/cli-plugins/docker-buildx docker-buildx'
}

# What Debian's podman only recommends.
podman_needs() {
  # crun, podman's own choice, does not work with the older control groups
  [ -e /sys/fs/cgroup/cgroup.controllers ] || echo 'runc runc'
  [ "$(id -u)" = 0 ] || echo 'newuidmap uidmap'
  [ -e /usr/lib/cni/bridge ] || printf '%s\n' '/usr/lib/podman/netavark netavark' '/usr/lib/podman/aardvark-dns aardvark-dns'
  echo 'iptables iptables'
}

# What podman cannot find out about a machine without systemd, or with fewer rights than root has elsewhere. The
# machine's own configuration is never changed: where somebody has written one, it alone counts.
configure_podman() {
  [ -z "${CONTAINERS_CONF:-}" ] || return 0
  for written in /etc/containers/containers.conf "${XDG_CONFIG_HOME:-${HOME:-/}/.config}/containers/containers.conf"; do
    [ ! -e "$written" ] || return 0
  done
  wanted=$(podman_settings)
  [ -n "$wanted" ] || return 0
  ours=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/k0sctl-handler/containers.conf
  if [ "$(cat "$ours" 2> /dev/null)" != "$wanted" ]; then
    mkdir -p "${ours%/*}"
    printf '%s\n' "$wanted" > "$ours.$$"
    mv "$ours.$$" "$ours"
  fi
  export CONTAINERS_CONF="$ours"
}

podman_settings() {
  if [ "$(id -u)" = 0 ] && ! may_raise_limits; then
    files=$(limit 'Max open files' 65536) processes=$(limit 'Max processes' 32768)
    printf '%s\n' '[containers]' "default_ulimits = [\"nofile=$files:$files\", \"nproc=$processes:$processes\"]"
  fi
  [ -d /run/systemd/system ] || printf '%s\n' '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"'
  [ -d /run/systemd/system ] || [ -e /sys/fs/cgroup/cgroup.controllers ] || echo 'runtime = "runc"'
}

# The hard limit of this process, or of podman's runtime where that is lower: a container cannot have more.
limit() { # NAME MOST
  awk -v name="$1" -v most="$2" 'index($0, name) == 1 { own = $(NF - 1); print own + 0 == own && own < most ? own : most }' \
    /proc/self/limits
}

# CAP_SYS_RESOURCE, capability 24
may_raise_limits() { [ $((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) >> 24 & 1)) = 1 ]; }

case ${1:-} in
  --needs)
    configure_podman
    needs
    ;;
  *)
    configure_podman
    engine=$(find_engine) || {
      echo 'image/engine.sh: neither docker nor podman works here; ./dev image installs podman' >&2
      ! has podman || podman info 2>&1 > /dev/null | sed 's/^/  /' >&2
      exit 3
    }
    if [ "${1:-}" = --name ]; then
      echo "$engine"
    else
      exec "$engine" "$@"
    fi
    ;;
esac
