#!/bin/sh
# pip install into a virtual environment that has no pip. Runs inside the build.
set -eu
venv=$1
shift
# the certificates of the machine that builds, where its way to the package index needs them; they stay outside
[ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
exec /build/tools/bin/pip --python "$venv/bin/python" --quiet install --no-compile "$@"
