#!/bin/sh
# Turns the root file system of the build into the release's. Runs inside the build, as root, and only there.
set -eu
export LC_ALL=C.UTF-8

# perl is wanted by maintainer scripts and by git's mail and Subversion commands, not by commit, push and signatures.
# dpkg is told to go on without it, so that its database says what is really there: an empty package of that name
# would lie to scanners. Without perl apt cannot install anything, so it goes too. mount, passwd and login are
# programs that need setuid to be of any use.
unwanted='
  adduser apt git-man liberror-perl libapt-pkg* libgdbm* libgdbm-compat* libperl5* libstdc++6 login
  login.defs mount passwd perl perl-base perl-modules-* sqv
'
# Programs that need rights of their own to be of use, which nobody needs here. README.md tells why mtr-packet keeps its.
powerless='/usr/bin/su /usr/bin/ssh-agent /usr/lib/openssh/ssh-keysign /usr/sbin/unix_chkpwd'
# git as a server, a mailer and a web page: of /usr/lib/git-core
unwanted_git='daemon http-backend http-push imap-send instaweb shell'

remove_packages() {
  # shellcheck disable=SC2086  # patterns for dpkg-query, one a word
  set -f -- $unwanted
  set +f
  installed=$(dpkg-query --show --showformat '${db:Status-Status} ${binary:Package}\n' "$@" 2> /dev/null |
    sed -n 's/^installed //p')
  # shellcheck disable=SC2086
  dpkg --purge --force-depends --force-remove-essential --force-remove-protected $installed
}

remove_files() {
  find /usr/share/doc -mindepth 2 ! -name copyright ! -type d -delete
  find /usr/share/doc -type d -empty -delete
  cd /usr/share && rm -rf bash-completion gitweb info lintian locale man
  rm -f /usr/bin/git-shell /usr/bin/scalar /usr/lib/git-core/scalar
  for command in $unwanted_git; do rm -f "/usr/lib/git-core/git-$command"; done
  rm -rf /etc/apt /etc/cron.daily /var/cache/* /var/lib/apt /var/log/* /root/.[!.]* /tmp/* /var/tmp/* /run/*
  rm -f /etc/*- /var/lib/dpkg/*-old /var/backups/* /etc/.pwd.lock
  mkdir -p /var/cache/debconf
}

# dpkg's own record of a mode that differs from its package's.
take_powers() {
  for program in $powerless; do
    dpkg-statoverride --update --add root root 0755 "$program"
  done
}

# Timestamps say nothing after a copy, and a read-only container could not write what is out of date.
compile() {
  find /usr/lib/python3* /opt/k0sctl-handler -name __pycache__ -prune -exec rm -rf {} +
  python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/lib/python3* /opt/k0sctl-handler/lib
}

# `k0sctl-handler version` shows the file, wherever the image has gone without its labels.
mark() {
  [ -n "${NOT_A_RELEASE:-}" ] || return 0
  mkdir /usr/share/k0sctl-handler
  printf '%s\n' "$NOT_A_RELEASE" > /usr/share/k0sctl-handler/not-a-release
}

link() {
  for name in k0sctl-handler k0sctl-handler.sh; do
    ln -s /opt/k0sctl-handler/bin/k0sctl-handler "/usr/local/bin/$name"
  done
}

add_user() {
  echo 'handler:x:65532:65532:k0sctl-handler:/home/handler:/bin/bash' >> /etc/passwd
  echo 'handler:x:65532:' >> /etc/group
  echo 'handler:*:::::::' >> /etc/shadow
  mkdir /home/handler
  install --directory --owner=65532 --group=65532 /work
}

remove_packages
take_powers
remove_files
add_user
link
mark
compile
