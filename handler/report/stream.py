"""A text stream that never stops a run: what cannot be written is lost, and nothing else."""

from __future__ import annotations

import os
from typing import TextIO


class SafeStream:
    """Wraps stdout, stderr or a log; after a broken pipe or a full disk it is silent.

    Attributes:
        lost: why some of the text was lost, where that was nobody's wish; a reader that goes away wants no more.

    The file descriptor is then pointed at /dev/null: text that Python still holds would otherwise fail once
    more when the interpreter exits, and turn the exit code into 120.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # Python sets sys.stderr to None when it was closed before the start
        self._stream = stream
        self.lost: OSError | None = None

    @property
    def broken(self) -> bool:
        return self._stream is None

    @property
    def encoding(self) -> str:
        return (self._stream.encoding if self._stream is not None else None) or "utf-8"

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._write(self._stream, text)
            except BlockingIOError as error:
                self.lost = error  # a child left the descriptor non-blocking: lose this text only
            except (OSError, ValueError) as error:
                self._silence(error)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except BlockingIOError as error:
                self.lost = error
            except (OSError, ValueError) as error:
                self._silence(error)

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))

    def _silence(self, error: OSError | ValueError) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            self.lost = error
        stream, self._stream = self._stream, None
        try:
            descriptor = stream.fileno() if stream is not None else -1
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                if descriptor >= 0:
                    os.dup2(null, descriptor)
            finally:
                os.close(null)
        except (OSError, ValueError):
            pass  # a stream without a descriptor, or one that is closed: nothing is left to write
