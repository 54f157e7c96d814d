"""Packs the practice k0sctl into one executable file that runs in the image.

Its version ends in `+practice`, so that no output and no manifest of such an image looks like the real one's.
Faults are switched on by files in /run/k0sctl-faults.
"""

import os
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
PACKAGE = Path("tests/practice/k0sctl")
#: Of every file, so that the same sources give the same program, and the image is not built again: zip begins in 1980.
EPOCH = 315_619_200
INTERPRETER = "/opt/k0sctl-handler/bin/python -I"
MAIN = """\
import sys
import zipfile

from tests.practice.k0sctl import log

log.VERSION += "+practice"
from tests.practice.k0sctl import flags

flags.HELP = zipfile.Path(sys.argv[0], "tests/practice/k0sctl/help/")
from tests.practice.k0sctl.main import main

sys.exit(main("/run/k0sctl-faults"))
"""


def pack(target: Path) -> None:
    """Writes the program to `target`."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        shutil.copytree(SOURCE / PACKAGE, root / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        for package in PACKAGE.parents[:2]:
            shutil.copy(SOURCE / package / "__init__.py", root / package)
        (root / "__main__.py").write_text(MAIN, encoding="utf-8")
        for path in root.rglob("*"):
            os.utime(path, (EPOCH, EPOCH))
        zipapp.create_archive(root, target, INTERPRETER, compressed=True)


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
