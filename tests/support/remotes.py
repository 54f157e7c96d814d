"""Repositories on another machine, as far as git can tell: a bare one, and what serves it over https and ssh."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from tests.practice.sshd import Sshd, make_key


class Bare:
    """A bare repository, the one that all clones have as their origin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "--template=", str(path)], check=True)
        (path / "hooks").mkdir()

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def __call__(self, *arguments: str, **env: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    def fill(self, repository: Path, branch: str = "backup") -> str:
        """Take over the newest commit of a repository, with its history, as a branch; returns its id."""
        self("fetch", "-q", "--update-shallow", str(repository), f"+HEAD:refs/heads/{branch}")
        return self.tip(branch)

    def tip(self, branch: str = "backup") -> str:
        return self("rev-parse", "--verify", f"refs/heads/{branch}")

    def has(self, branch: str = "backup") -> bool:
        return branch in self("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()

    def commits(self, branch: str = "backup") -> list[str]:
        """All commits of a branch, newest first; none of them is a merge."""
        lines = [line.split() for line in self("rev-list", "--parents", branch).splitlines()]
        assert all(len(words) <= 2 for words in lines), lines
        return [words[0] for words in lines]

    def names(self, branch: str = "backup") -> list[str]:
        """The ciphertexts of backups in the newest commit."""
        paths = self("ls-tree", "-r", "--name-only", branch).splitlines()
        return [path for path in paths if path.endswith(".tar.gz.enc")]

    def file(self, path: str, branch: str = "backup") -> str:
        return self("cat-file", "blob", f"{branch}:{path}")

    def hook(self, name: str, script: str) -> Path:
        """Make the server say something to a push; it goes by taking the file away."""
        path = self.path / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


class HttpsGit:
    """git's own http-backend behind TLS and a password; what was asked is kept.

    Args:
        directory: for the certificate; made when missing.
        token: nothing is answered without it.
        redirect: every request is sent to this place instead.

    Attributes:
        requests: path and Authorization header of each.
        answer: the status for whoever has logged in, instead of what git says; a redirection leads to ``elsewhere``.
        hang: whoever has logged in is never answered.
    """

    def __init__(self, directory: Path, bare: Bare, token: str, redirect: str = "") -> None:
        self.bare, self.token, self.redirect = bare, token, redirect
        self.answer, self.elsewhere, self.hang = 0, "", False
        self.over = threading.Event()
        self.requests: list[tuple[str, str]] = []
        directory.mkdir(exist_ok=True)
        self.certificate = directory / "certificate.pem"
        key = directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
             "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.git = self
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"https://{self.place}/{self.bare.path.name}"

    @property
    def users(self) -> set[str]:
        """Who has logged in, with the right token."""
        pairs = (base64.b64decode(said.removeprefix("Basic ")).decode() for _, said in self.requests if said)
        return {user for user, _, token in (pair.partition(":") for pair in pairs) if token == self.token}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    git: HttpsGit

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that goes away is none of our business."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    @property
    def _git(self) -> HttpsGit:
        return cast("_Server", self.server).git

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, body: bytes) -> None:
        said = self.headers.get("Authorization", "")
        self._git.requests.append((self.path, said))
        if self._git.redirect:
            self._say(301, {"Location": self._git.redirect + self.path}, b"")
            return
        user, _, token = base64.b64decode(said.removeprefix("Basic ")).decode().partition(":")
        if token != self._git.token:
            self._say(401, {"WWW-Authenticate": 'Basic realm="practice"'}, b"")
            return
        if self._git.hang:
            self._git.over.wait()
        if self._git.answer:
            self._say(self._git.answer, {"Location": self._git.elsewhere + self.path}, b"")
            return
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, check=False,
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self._git.bare.path.parent),
                "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "REMOTE_USER": user,
                "REMOTE_ADDR": "127.0.0.1",
            },
        )  # fmt: skip
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        self._say(status, headers, content)

    def _say(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class SshGit(Sshd):
    """A real sshd that runs what git asks for.

    Attributes:
        private_key: the one key that may log in.
    """

    def __init__(self, directory: Path, bare: Bare) -> None:
        directory.mkdir(exist_ok=True)
        self.bare = bare
        self.private_key = directory / "id_ed25519"
        make_key(self.private_key, "ed25519")
        super().__init__(directory, directory, self.private_key.with_suffix(".pub"))

    def _configuration(self) -> str:
        return re.sub(r"ForceCommand .*", 'ForceCommand eval "$SSH_ORIGINAL_COMMAND"', super()._configuration())

    @property
    def url(self) -> str:
        return f"ssh://{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1:{self.port}{self.bare.path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
