"""The settings of the remote repository: what is a URL or a branch, and that no credential is ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.secret import Secret
from handler.settings.convert import Rejected, branch, git_url
from handler.settings.model import Settings

PASSWORD = "hunter2hunter2"
SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc3NoLWtleS1ib2R5\n-----END OPENSSH PRIVATE KEY-----\n"
HTTPS = "https://git.example.org/clusters/prod.git"
SSH = "ssh://git@git.example.org/clusters/prod.git"


def read(env: Mapping[str, str], command: str = "apply") -> Settings:
    settings, _ = Settings.from_env(env, command)
    return settings


def problems(env: Mapping[str, str], command: str = "apply") -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(env, command)
    assert caught.value.exit_code == 2
    return "\n".join([caught.value.message, *caught.value.details])


@pytest.mark.parametrize(
    "url",
    [
        HTTPS,
        "https://git.example.org:8443/prod",
        "https://bot@git.example.org/prod.git",
        "https://bot+ci%40example.org@git.example.org/prod.git",
        "https://[2001:db8::1]:8443/prod.git",
        SSH,
        "ssh://git.example.org/srv/prod.git",
        "ssh://git@git.example.org:2222/~git/prod.git",
        "ssh://git@[2001:db8::1]:2222/prod.git",
        "git@git.example.org:clusters/prod.git",
        "git.example.org:prod.git",
        "git@git.example.org:/srv/prod.git",
        "file:///srv/prod.git",
    ],
)
def test_urls_are_taken_as_they_are(url: str) -> None:
    assert git_url(url) == url


def test_a_path_becomes_a_url() -> None:
    assert git_url("/srv/prod.git") == "file:///srv/prod.git"


@pytest.mark.parametrize(
    "text",
    [
        "http://git.example.org/prod.git",
        "git://git.example.org/prod.git",
        "ftp://git.example.org/prod.git",
        "HTTPS://git.example.org/prod.git",
        "https://git.example.org",
        "https://git.example.org/",
        "https://git.example.org/prod.git?private_token=" + PASSWORD,
        "https://git.example.org/prod.git#" + PASSWORD,
        "https://-oProxyCommand/prod.git",
        "ssh://-oProxyCommand/prod.git",
        "ssh://-l@git.example.org/prod.git",
        "-oProxyCommand:prod.git",
        "-l@git.example.org:prod.git",
        "git@-oProxyCommand:prod.git",
        "git@git.example.org:-upload-pack",
        "--upload-pack=x",
        "ext::sh",
        "ext::sh%20-c%20id",
        "ext::/bin/sh",
        "fd::17/prod",
        "host::prod.git",
        "file://git.example.org/prod.git",
        "file://",
        "/",
        "./prod.git",
        "prod.git",
        "backup",
        "..",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(Rejected, match="must be https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or file://"):
        git_url(text)
    assert PASSWORD not in problems({"K0SCTL_GIT_URL": text})


@pytest.mark.parametrize(
    "text",
    [
        HTTPS + " x",
        "https://git.example.org/a b",
        "git@git.example.org:a b",
        "/srv/a b",
        "/srv/a\u202eb",
        "/srv/\u00a0x",
    ],
)
def test_a_space_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="without spaces"):
        git_url(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://bot:{PASSWORD}@git.example.org/prod.git",
        f"https://:{PASSWORD}@git.example.org/prod.git",
        f"https://bot:{PASSWORD}@x@git.example.org/prod.git",
        f"http://bot:{PASSWORD}@git.example.org/prod.git",
        f"HTTPS://bot:{PASSWORD}@git.example.org/prod.git",
        f"ssh://git:{PASSWORD}@git.example.org/prod.git",
        f"git:{PASSWORD}@git.example.org:prod.git",
        f"https://bot:{PASSWORD} x@git.example.org/prod.git",
        f"https://bot:12/{PASSWORD}@git.example.org/prod.git",
        f"ssh://bot:12/{PASSWORD}@git.example.org/prod.git",
        f"bot:12/{PASSWORD}@git.example.org:prod.git",
        f"http://{PASSWORD}@git.example.org/prod.git",
        f"https://{PASSWORD}@git.example.org",
        f"{PASSWORD}@git.example.org",
    ],
)
@pytest.mark.parametrize("command", ["apply", "check"])
def test_a_password_is_refused_and_never_shown(text: str, command: str) -> None:
    env = {"K0SCTL_GIT_URL": text}
    told = problems(env) if command == "apply" else "\n".join(read(env, command).problems)
    assert told.startswith("K0SCTL_GIT_URL (its value is not shown): must ")
    assert PASSWORD not in told


def test_a_password_is_told_what_to_set_instead() -> None:
    told = problems({"K0SCTL_GIT_URL": f"https://bot:{PASSWORD}@git.example.org/prod.git"})
    assert "must not hold a password: set K0SCTL_GIT_TOKEN or K0SCTL_GIT_SSH_KEY" in told


def test_a_wrong_url_without_credentials_is_shown() -> None:
    assert "K0SCTL_GIT_URL='http://git.example.org/x': must be https" in problems(
        {"K0SCTL_GIT_URL": "http://git.example.org/x"}
    )


@pytest.mark.parametrize("name", ["backup", "clusters/prod", "v1.2", "a-b_c", "x" * 200])
def test_branches(name: str) -> None:
    assert branch(name) == name


@pytest.mark.parametrize(
    "name",
    ["-f", "--all", ".hidden", "a/.b", "a/-b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "@{u}", "@",
     "a/", "/a", "a//b", "a.", "a.lock", "a.lock/b", "HEAD", "x" * 201, "größe"],
)  # fmt: skip
def test_what_is_no_branch(name: str) -> None:
    with pytest.raises(Rejected, match="must be the name of a branch such as"):
        branch(name)


def test_a_branch_is_a_bare_name() -> None:
    with pytest.raises(Rejected, match="without refs/heads/"):
        branch("refs/heads/backup")


def test_all_of_it_together() -> None:
    settings = read(
        {
            "K0SCTL_GIT_URL": f" {HTTPS}\n",
            "K0SCTL_GIT_BRANCH": "clusters/prod",
            "K0SCTL_GIT_TOKEN": f" {PASSWORD}\n",
        }
    )
    assert (settings.git_url, settings.git_branch) == (HTTPS, "clusters/prod")
    assert settings.git_token == Secret(PASSWORD)
    assert settings.secrets == (Secret(PASSWORD),)
    assert PASSWORD not in repr(settings)
    settings = read({"K0SCTL_GIT_URL": SSH, "K0SCTL_GIT_SSH_KEY": SSH_KEY, "K0SCTL_GIT_KNOWN_HOSTS": "h ssh-rsa AAAA"})
    assert settings.git_ssh_key == Secret(SSH_KEY)
    assert settings.secrets == (Secret(SSH_KEY),)
    assert settings.git_known_hosts == "h ssh-rsa AAAA\n"


def test_a_token_file_of_an_editor_is_taken(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(PASSWORD.encode() + b"\r\n\n")
    settings = read({"K0SCTL_GIT_URL": HTTPS, "K0SCTL_GIT_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.git_token == Secret(PASSWORD)


@pytest.mark.parametrize("token", [f"{PASSWORD} x", f"{PASSWORD}\n{PASSWORD}", f"{PASSWORD}é", f"{PASSWORD}\0"])
def test_a_token_is_one_word(token: str) -> None:
    told = problems({"K0SCTL_GIT_URL": HTTPS, "K0SCTL_GIT_TOKEN": token})
    assert told == "K0SCTL_GIT_TOKEN (its value is not shown): must be one word of printable ASCII characters"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K0SCTL_GIT_TOKEN", PASSWORD),
        ("K0SCTL_GIT_SSH_KEY", SSH_KEY),
        ("K0SCTL_GIT_KNOWN_HOSTS", "h ssh-rsa AAAA"),
    ],
)
def test_what_belongs_to_a_url_needs_one(tmp_path: Path, name: str, value: str) -> None:
    assert problems({name: value}) == f"{name}: is set, but K0SCTL_GIT_URL is not"
    (tmp_path / "file").write_text(value)
    assert f"{name}: is set, but K0SCTL_GIT_URL is not" in problems({f"{name}_FILE": str(tmp_path / "file")})


def test_a_branch_alone_is_harmless() -> None:
    assert read({"K0SCTL_GIT_BRANCH": "prod"}).git_url is None


def test_a_wrong_url_is_one_problem() -> None:
    told = problems({"K0SCTL_GIT_URL": "http://git.example.org/x", "K0SCTL_GIT_TOKEN": PASSWORD})
    assert told.count("K0SCTL_GIT") == 1


@pytest.mark.parametrize("url", [SSH, "git@git.example.org:prod.git", "/srv/prod.git"])
def test_a_token_is_for_https_only(url: str) -> None:
    told = problems({"K0SCTL_GIT_URL": url, "K0SCTL_GIT_TOKEN": PASSWORD})
    assert told == "K0SCTL_GIT_TOKEN: is for https only, and K0SCTL_GIT_URL is something else"


def test_a_user_over_https_without_a_token_may_be_the_token() -> None:
    url = f"https://{PASSWORD}@git.example.org/prod.git"
    told = problems({"K0SCTL_GIT_URL": url})
    assert "K0SCTL_GIT_URL: names a user, which may be a token" in told
    assert PASSWORD not in told
    assert read({"K0SCTL_GIT_URL": "https://bot@git.example.org/x", "K0SCTL_GIT_TOKEN": PASSWORD}).git_url
    assert read({"K0SCTL_GIT_URL": SSH}).git_url == SSH


def test_version_does_not_care() -> None:
    assert read({"K0SCTL_GIT_TOKEN": PASSWORD, "K0SCTL_GIT_URL": "http://x"}, "version").git_url is None
