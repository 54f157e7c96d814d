"""Tells what takes the room in an image: `image/sizes.py IMAGE` prints a table for README.md."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ENGINE = Path(__file__).with_name("engine.sh")
LISTS = re.compile(r"var/lib/dpkg/info/(?P<package>[^/:]+)(:[^/]+)?\.list")
#: What belongs together, by the names of files, then by those of packages; the first that fits counts.
BY_FILE = {
    "k0sctl": r"usr/local/bin/k0sctl",
    "the handler and its Python packages": r"opt/",
    "names of Debian's packages": r"var/lib/dpkg/",
}
BY_PACKAGE = {
    "Python": r"(lib)?python3.*|libsqlite3.*|libexpat.*|libffi.*|media-types|netbase",
    "git, curl and the libraries for https": (
        r"git|curl|lib(curl|gnutls|p11|unistring|idn2|ldap|sasl2|nghttp|ngtcp2|psl|rtmp|ssh2|brotli|tasn1|hogweed|nettle).*"
    ),
    "OpenSSH and its libraries": r"openssh-client|lib(krb5|k5crypto|gssapi|keyutils|com-err|edit|cbor|fido2).*",
    "OpenSSL and certificates": r"openssl.*|libssl3.*|ca-certificates",
    "GnuPG": r"gpg.*|pinentry.*|lib(gcrypt|gpg-error|assuan|ksba|npth).*",
    "mtr": r"mtr.*|libjansson.*",
    "C library": r"libc6|libc-bin|libgcc.*",
    "bash and coreutils": r"bash|coreutils",
    "time zones": "tzdata",
}
REST = "the rest of Debian's base"


@dataclass
class Part:
    """A row of the table; compressed as a stream of its own, so the sum is a little more than the whole."""

    size: int = 0
    compressed: int = 0
    stream: zlib._Compress = field(default_factory=lambda: zlib.compressobj(6))

    def add(self, data: bytes) -> None:
        """Takes a file."""
        self.size += len(data)
        self.compressed += len(self.stream.compress(data))


def files(image: str) -> Iterator[tuple[str, bytes]]:
    """Every file of an image."""
    made = subprocess.run([ENGINE, "create", image], capture_output=True, text=True, check=True).stdout.strip()
    try:
        with (
            subprocess.Popen([ENGINE, "export", made], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content:
                    yield member.name.removeprefix("./"), content.read()
    finally:
        subprocess.run([ENGINE, "rm", made], capture_output=True, check=True)


def parts(content: dict[str, bytes]) -> dict[str, Part]:
    """The files of an image by what they belong to."""
    owner = {
        line.lstrip("/"): found["package"]
        for name, data in content.items()
        if (found := LISTS.fullmatch(name))
        for line in data.decode().splitlines()
    }
    table: dict[str, Part] = defaultdict(Part)
    for name, data in content.items():
        table[_part(name, owner)].add(data)
    for part in table.values():
        part.compressed += len(part.stream.flush())
    return table


def _part(name: str, owner: dict[str, str]) -> str:
    # dpkg knows some files by a name that leads through the link /lib
    source = re.sub(r"/__pycache__/(\w+)\.cpython-\d+\.pyc$", r"/\1.py", name)
    package = owner.get(source) or owner.get(source.removeprefix("usr/"), "")
    for part, pattern in BY_FILE.items():
        if re.match(pattern, name):
            return part
    for part, pattern in BY_PACKAGE.items():
        if re.fullmatch(pattern, package):
            return part
    return REST


def compressed_size(image: str) -> int:
    """Bytes of the saved image, compressed as `gzip -6` does."""
    stream, size = zlib.compressobj(6, wbits=31), 0
    with subprocess.Popen([ENGINE, "save", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as save:
        assert save.stdout
        while chunk := save.stdout.read(1 << 20):
            size += len(stream.compress(chunk))
    return size + len(stream.flush())


def main(image: str) -> None:
    """Prints the table."""
    table = sorted(parts(dict(files(image))).items(), key=lambda row: -row[1].compressed)
    print("| what | MB | MB compressed |\n| --- | ---: | ---: |")
    for name, part in table:
        print(f"| {name} | {part.size / 1e6:.1f} | {part.compressed / 1e6:.1f} |")
    whole = sum(part.size for _, part in table)
    print(f"| **the image** | **{whole / 1e6:.1f}** | **{compressed_size(image) / 1e6:.1f}** |")


if __name__ == "__main__":
    main(sys.argv[1])
