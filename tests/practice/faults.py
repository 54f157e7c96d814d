"""The faults of the practice cluster. A fault is switched on by a file of its name; the file's text is its value.

Host faults live in `/etc/k0s-standin/` of a practice host (`PracticeHost.fault`), k0sctl faults in the directory
`faults` beside the installed k0sctl (`K0sctlFaults`).
"""

HOST_FAULTS = {
    # k0s backup
    "fail-backup": "k0s backup prints VALUE (default: an etcd error) and exits 1",
    "slow-backup": "k0s backup takes VALUE seconds longer, then works",
    "hang-backup": "k0s backup hangs for VALUE seconds (default 3600), then exits 1",
    "empty-backup": "k0s backup writes an archive of 0 bytes and exits 0",
    "no-backup-file": "k0s backup writes no archive and exits 0",
    "cut-backup": "the archive is cut in the middle, exit 0",
    "cut-trailer": "the last 8 bytes of the archive (gzip's CRC and size) are missing, exit 0",
    "wrong-crc": "gzip's CRC at the end of the archive is wrong, exit 0",
    "tail": "garbage follows the gzip stream, exit 0",
    "no-tar-end": "a good gzip whose tar has no end blocks, exit 0",
    "no-datastore": "the archive has no datastore member, exit 0",
    "two-datastores": "the archive has an etcd and a kine datastore, exit 0",
    "wrong-datastore": "the archive has the other datastore than its k0s.yaml says, exit 0",
    "bad-snapshot-sha": "one bit of the datastore is flipped (an etcd snapshot no longer fits its SHA-256), exit 0",
    "big-backup": "the archive has VALUE megabytes (default 8) of incompressible data more, below images/",
    # k0s restore
    "fail-restore": "k0s restore prints VALUE (default: boom) and exits 1",
    "slow-restore": "k0s restore takes VALUE seconds longer, then works",
    "not-empty": "k0s restore finds a data directory that is not empty and exits 1",
    "new-uid": "k0s restore works, but the cluster has another UID afterwards",
    # k0s, while it runs
    "no-uid": "k0s kubectl get namespace fails, so the cluster's UID cannot be read",
    "fail-readyz": "the API never becomes ready",
    "slow-status": "k0s status takes VALUE seconds longer",
    "fail-etcd": "k0s etcd member-list prints VALUE and exits 1",
    # k0s install, start, reset
    "fail-validate": "k0s config validate prints VALUE and exits 1",
    "fail-install": "k0s install prints VALUE (default: disk full) and exits 1",
    "slow-install": "k0s install takes VALUE seconds longer",
    "fail-controller": "the k0s service dies at its start",
    "fail-reset": "k0s reset prints VALUE (default: device busy), deletes nothing and exits 1",
    "slow-reset": "k0s reset takes VALUE seconds longer",
    "stopped": "k0s is installed as a service but stopped (until the fault is cleared)",
    # the host
    "locked": "another k0sctl holds /tmp/k0sctl.lock and keeps it fresh",
    "ssh-hang": "the SSH port accepts connections but never says anything",
}

K0SCTL_FAULTS = {
    "k0sctl-hang": "k0sctl prints nothing and sleeps for VALUE seconds (default 3600); a signal ends it",
    "k0sctl-stuck": "like k0sctl-hang, but SIGTERM and SIGINT are ignored",
    "k0sctl-crash": "k0sctl is killed by signal VALUE (default SEGV) in the middle of the run",
    "restore-skipped": "apply --restore-from does not restore and says nothing: exit 0 and a new cluster",
    "backup-skipped": "backup leaves the phase Take backup out: exit 0 and an output of 0 bytes",
    "dry-run-lie": "every command prints dry-run lines, changes nothing and exits 0",
    "no-finish": "apply exits 0 without the line that tells the installed version",
    "hurry": "not a fault: waiting for a lock, for SSH and for the API takes a VALUE-th (default 10) of the real time",
}

FAULTS = HOST_FAULTS | K0SCTL_FAULTS
