#!/bin/sh
# Builds the image with docker or podman; `./dev image` calls it, which installs what is missing.
set -eu
cd -- "$(dirname -- "$0")/.."

usage() {
  cat <<'END'
usage: ./dev image [--tag NAME] [--practice] [--pull] [--no-cache] [--test] [--sizes]

Builds the container image with docker or podman.

  --tag NAME    another name than k0sctl-handler:dev
  --practice    with the practice k0sctl, even where the real one can be had
  --pull        asks for a newer base image, or bootstraps it anew
  --no-cache    uses no layer of an earlier build: the newest packages of today
  --test        runs the contract tests inside the image's own userland, too
  --sizes       tells what takes the room in the image

Where the base image cannot be pulled, it is bootstrapped from Debian's packages. Where the k0sctl image cannot be
pulled, K0SCTL_BINARY=/path/to/k0sctl is used, or else the practice k0sctl. Such an image is no release: it says so in
`version` and in the label k0sctl-handler.not-a-release. Debian packages and Python packages are fetched in any case;
PIP_INDEX_URL and PIP_CERT (or SSL_CERT_FILE) name another index and the certificates that the way to it needs.
END
}

tag=k0sctl-handler:dev
practice=''
pull=''
no_cache=''
test=''
sizes=''
while [ $# -gt 0 ]; do
  case $1 in
    --tag)
      tag=${2:?--tag needs a name}
      shift
      ;;
    --practice) practice=yes ;;
    --pull) pull=yes ;;
    --no-cache) no_cache=yes ;;
    --test) test=yes ;;
    --sizes) sizes=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

say() { printf '%s\n' "./dev image: $*" >&2; }

engine() { image/engine.sh "$@"; }

# Runs a command; what it says is shown only when it fails.
quietly() {
  said=$("$@" 2>&1) || {
    printf '%s\n' "$said" >&2
    return 1
  }
}

# The default of an argument in the Dockerfile.
default() { sed -n "s/^ARG $1=//p" Dockerfile; }

pulled() { engine pull --quiet "$1" > /dev/null 2>&1; }

# --- the base image

not_a_release=''

choose_base() {
  base=$(image/base.sh ${pull:+--pull})
  base_digest=''
  case $base in
    localhost/*) remark 'its base was bootstrapped from Debian packages' ;;
    *@*) base_digest=${base#*@} ;;
  esac
  base=${base%@*}
}

# --- k0sctl

k0sctl_image=$(default K0SCTL_IMAGE)
k0sctl_version=$(default K0SCTL_VERSION)

choose_k0sctl() {
  if [ -n "$practice" ]; then
    use_practice
  elif [ -n "${K0SCTL_BINARY:-}" ]; then
    use_binary "$K0SCTL_BINARY"
  else
    pulled "$k0sctl_image:$k0sctl_version" || use_practice
  fi
}

use_practice() {
  "${PYTHON:-python3}" image/practice.py "$work/k0sctl"
  remark 'its k0sctl is the practice stand-in, which is not the real k0sctl and must never touch a real cluster'
  import_k0sctl practice "$work/k0sctl"
}

use_binary() { # FILE
  if [ ! -f "$1" ] || [ ! -r "$1" ]; then
    say "K0SCTL_BINARY=$1 is no file that can be read; name a k0sctl program, or leave it unset"
    exit 2
  fi
  import_k0sctl given "$1"
  remark "its k0sctl is a file given by hand, sha256 $sum"
}

remark() { not_a_release="${not_a_release:+$not_a_release; }$1"; }

# As the official image holds it, under a name of its own; what an earlier build imported is taken again.
import_k0sctl() { # TAG FILE
  k0sctl_image=localhost/k0sctl-handler/k0sctl
  k0sctl_version=$1
  sum=$(sha256sum < "$2")
  sum=${sum%% *}
  known=$(engine image inspect --format '{{.Config.Labels.sha256}}' "$k0sctl_image:$k0sctl_version" 2> /dev/null) || known=''
  [ "$known" != "$sum" ] || return 0
  install -D -m 755 "$2" "$work/root/usr/local/bin/k0sctl"
  tar -C "$work/root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c usr |
    quietly engine import --change "LABEL sha256=$sum" - "$k0sctl_image:$k0sctl_version"
}

warn_loudly() {
  [ -n "$not_a_release" ] || return 0
  {
    echo '######################################################################'
    echo "#  $tag IS NOT A RELEASE:"
    printf '%s\n' "$not_a_release" | sed 's/; /\n/g; s/^/#  - /; s/\n/\n#  - /g'
    echo '######################################################################'
  } >&2
}

# --- the build

git_says() { git -c "safe.directory=$PWD" "$@" 2> /dev/null; }

revision() {
  commit=$(git_says rev-parse HEAD) || return 0
  [ -z "$(git_says status --porcelain)" ] || commit=$commit-dirty
  echo "$commit"
}

# A web address, without a password.
source_url() { git_says remote get-url origin | sed -n 's#^\(https://\)\([^/@]*@\)\{0,1\}#\1#; s#\.git$##; /^https:/p'; }

# The release is what the Dockerfile ends with; podman 4.3 would not give its labels to a --target.
build_release() {
  prefix=org.opencontainers.image
  version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' handler/__init__.py)
  created=$(TZ=UTC git_says log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) || created=''
  build "$tag" --label "$prefix.version=$version" --label "$prefix.revision=$(revision)" \
    --label "$prefix.created=$created" --label "$prefix.source=$(source_url)"
}

build_test() { build "$tag-test" --target test; }

build() { # NAME OPTIONS
  set -- --tag "$@" \
    --build-arg "DEBIAN_IMAGE=${base%:*}" \
    --build-arg "DEBIAN_TAG=${base##*:}" \
    --build-arg "DEBIAN_DIGEST=$base_digest" \
    --build-arg "K0SCTL_IMAGE=$k0sctl_image" \
    --build-arg "K0SCTL_VERSION=$k0sctl_version" \
    --build-arg "NOT_A_RELEASE=$not_a_release" \
    --build-arg "PIP_INDEX_URL=${PIP_INDEX_URL:-}"
  certificates=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
  [ ! -s "$certificates" ] || set -- "$@" --secret "id=ca,src=$certificates"
  [ -z "$no_cache" ] || set -- "$@" --no-cache
  # podman would put the build into a network of its own, which not every machine can make
  [ "$name" = docker ] || set -- "$@" --network host
  DOCKER_BUILDKIT=1 quietly engine build "$@" .
}

name=$(image/engine.sh --name)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
choose_base
choose_k0sctl
warn_loudly
say "building $tag with $name"
build_release
[ -z "$test" ] || {
  say "running the contract tests in the userland of $tag"
  build_test
  engine run --rm --privileged "$tag-test" >&2
}
[ -z "$sizes" ] || "${PYTHON:-python3}" image/sizes.py "$tag"
warn_loudly
say "$tag is built; image/engine.sh run --rm $tag"
