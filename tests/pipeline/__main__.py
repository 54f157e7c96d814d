"""`./dev lint` and `./dev fix`: what is made from the settings and from the pipeline, checked or written anew."""

from __future__ import annotations

import sys
from typing import Final

from tests.pipeline import taskfiles
from tests.pipeline.picture import document as picture
from tests.pipeline.picture.document import PICTURE
from tests.pipeline.template import PIPELINE, TASKS

_HELP: Final = "python -m tests.pipeline check|renew"


def main(words: list[str]) -> int:
    if words not in (["check"], ["renew"]):
        print(f"usage: {_HELP}", file=sys.stderr)
        return 2
    if words == ["renew"]:
        taskfiles.renew(TASKS)
        picture.renew(PIPELINE, PICTURE)
    if problems := taskfiles.problems(TASKS) + picture.problems(PIPELINE, PICTURE):
        print(*problems, "./dev fix renews them", sep="\n", file=sys.stderr)
        return 1
    print("the task files agree with the code, the picture with the pipeline")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
