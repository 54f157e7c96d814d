"""What goes to stdout: a command's data, as text for people or as one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from handler.report.json_report import Json, masked
from handler.report.stream import SafeStream
from handler.report.text import clean
from handler.secret import Redactor


class Output:
    """stdout of one run; everything is masked on its way out.

    Args:
        json: nothing is shown before `document`, which is the only thing then.
    """

    def __init__(self, stream: SafeStream, redactor: Redactor, *, json: bool) -> None:
        self._stream = stream
        self._redactor = redactor
        self._json = json
        self._result: object = None

    @property
    def lost(self) -> OSError | None:
        """Why some of the data could not be written; a reader that goes away wants no more."""
        return self._stream.lost

    def show(self, result: object, text: str) -> None:
        """A command's data: ``result`` for the JSON document, ``text`` for people; a later result replaces it."""
        self._result = result
        if not self._json:
            hidden = self._redactor.mask(text)
            cleaned = clean(hidden)
            self._write(cleaned if cleaned == hidden else self._redactor.mask(cleaned))

    def document(self, report: Mapping[str, Json]) -> None:
        """The JSON document on one line, where one was asked for: the run's report, and the data as ``result``."""
        if not self._json:
            return
        head = json.dumps(report, allow_nan=False).removesuffix("}")
        self._write(f'{head}{", " * bool(report)}"result": {self._masked()}}}')

    def _masked(self) -> str:
        """The data as JSON; there may be ten thousand texts, so each is masked by itself only where one needs it."""
        try:
            document = json.dumps(self._result, allow_nan=False)
        except (TypeError, ValueError):  # what is not JSON's own becomes a text
            document = "\\"
        # without an escape every text stands there as it is, and one search finds what is in any of them
        if "\\" not in document and self._redactor.mask(document) == document:
            return document
        return json.dumps(masked(self._result, self._redactor.mask), allow_nan=False)

    def _write(self, text: str) -> None:
        self._stream.write(text.rstrip("\n") + "\n")
        self._stream.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one as it is."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    padded = (
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
    return "\n".join(padded) + "\n"
