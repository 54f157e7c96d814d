#!/bin/sh
# Copies programs with the libraries that they need below a directory: image/carry.sh TARGET PROGRAM... Runs inside the
# build.
set -eu
target=$1
shift
mkdir -p "$target"
for program; do
  # /lib is a link in both images
  ldd "$program" 2> /dev/null | sed -n 's#.*=> /\(usr/\)\{0,1\}\(lib[^ ]*\) .*#/usr/\2#p' > libraries
  xargs cp --parents --dereference --target-directory "$target" "$program" < libraries
done
rm libraries
