"""pcfseceng/email-resource, its mails kept in a list.

It answers as https://github.com/pivotal-cf/email-resource/blob/master/out/out.go does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.pipeline.concourse.resources import Fields, StepErrored, StepFailed, Version, known
from tests.pipeline.template import Node

_TOKENS: Final = (
    "BUILD_ID", "BUILD_NAME", "BUILD_JOB_NAME", "BUILD_PIPELINE_NAME", "ATC_EXTERNAL_URL", "BUILD_TEAM_NAME",
)  # fmt: skip
_LISTS: Final = dict.fromkeys(("to", "cc", "bcc"), list)
_SMTP: Final = {
    "host": str, "port": str, "username": str, "password": str, "anonymous": bool, "skip_ssl_validation": bool,
    "ca_cert": str, "host_origin": str, "login_auth": bool,
}  # fmt: skip
_SOURCE: Final = {"smtp": dict, "from": str, **_LISTS}
_PARAMS: Final = {
    "subject": str, "subject_text": str, "body": str, "body_text": str, "send_empty_body": bool, "headers": str,
    "to": str, "to_text": str, "cc": str, "cc_text": str, "bcc": str, "bcc_text": str, "debug": str,
    "attachment_globs": list,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail; attachments are by file name."""

    to: tuple[str, ...]
    subject: str
    body: str
    attachments: dict[str, bytes]


class Mailbox:
    """Takes every mail while the server is up.

    Attributes:
        down: whether nobody answers at the mail server.
    """

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.down = False

    def take(self) -> list[Mail]:
        """All that have come since the last look."""
        taken, self.mails = self.mails, []
        return taken

    def check(self, source: Fields) -> list[Version]:
        return []

    def get(self, source: Fields, version: Version, params: Fields, directory: Path) -> dict[str, str]:
        return {}

    def put(self, source: Fields, params: Fields, directory: Path, build: Mapping[str, str]) -> Version:
        _typed(source, _SOURCE, "source")
        _typed(source.get("smtp", {}), _SMTP, "source.smtp")
        _typed(params, _PARAMS, "params")
        _complete(source, params)
        texts = {"subject_text", "body_text", "attachment_globs", "send_empty_body"}
        if params.keys() - texts:
            raise StepErrored(f"not made here: {params.keys() - texts}")
        subject, body = (_told(str(params.get(key, "")), build) for key in ("subject_text", "body_text"))
        if body or params.get("send_empty_body"):
            self._send(source, subject.strip("\n"), body, _attached(params.get("attachment_globs", ()), directory))
        return {"time": f"mail {build['BUILD_ID']}"}

    def _send(self, source: Fields, subject: str, body: str, attachments: dict[str, bytes]) -> None:
        if self.down:
            raise StepFailed(f"dial tcp {source['smtp']['host']}: connection refused")
        self.mails.append(Mail(to=tuple(source["to"]), subject=subject, body=body, attachments=attachments))


def _typed(fields: Node, types: Mapping[str, type], where: str) -> None:
    """Go refuses a value of another type; what it does not know it would ignore, but then nobody meant it."""
    known(fields, types, where)
    for key, value in fields.items():
        if value is not None and not isinstance(value, types[key]):
            raise StepFailed(f"cannot unmarshal {type(value).__name__} into {where}.{key}")


def _complete(source: Fields, params: Fields) -> None:
    smtp = source.get("smtp", {})
    needed = {"smtp.host": smtp.get("host"), "smtp.port": smtp.get("port"), "from": source.get("from")}
    needed["to"] = source.get("to")
    needed["subject"] = params.get("subject") or params.get("subject_text")
    if not smtp.get("anonymous"):
        needed |= {"smtp.username": smtp.get("username"), "smtp.password": smtp.get("password")}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise StepFailed(f"missing required field: {', '.join(missing)}")


def _told(text: str, build: Mapping[str, str]) -> str:
    for name in _TOKENS:
        text = text.replace(f"${{{name}}}", build[name])
    return text


def _attached(globs: list[str], directory: Path) -> dict[str, bytes]:
    """A pattern that fits nothing is no error."""
    return {path.name: path.read_bytes() for glob in globs for path in sorted(directory.glob(glob))}
