"""The repository of K0SCTL_GIT_URL: how this run gets in, and the line that pushes by hand."""

from __future__ import annotations

import shlex
from pathlib import Path

from handler.commands.context import Context
from handler.errors import ConfigurationError
from handler.tools.gitaccess import Access, keyscan, over_file, over_https, over_ssh
from handler.tools.gitlocated import without_credentials
from handler.tools.gitremote import Remote
from handler.tools.ssh import Ssh
from handler.workspace import write_private


def remote_of(ctx: Context) -> Remote | None:
    """The remote branch of this run; None without K0SCTL_GIT_URL. Called once: it writes the private files.

    Raises:
        ConfigurationError: there is no host key to check an SSH host by.
    """
    url = ctx.settings.git_url
    return Remote(ctx.git, _access(ctx, url), ctx.settings.git_branch, ctx.settings.timeout) if url else None


def destination(ctx: Context) -> str:
    """Where what is committed goes, for the first line of a command."""
    url, branch = ctx.settings.git_url, ctx.settings.git_branch
    return f"{without_credentials(url)} (branch {branch})" if url else str(ctx.settings.backup_dir)


def push_line(ctx: Context) -> str:
    """The line that pushes what is in backup/ by hand."""
    directory, url = (
        shlex.quote(str(ctx.settings.backup_dir)),
        shlex.quote(without_credentials(ctx.settings.git_url or "")),
    )
    return f"git -C {directory} push {url} HEAD:refs/heads/{ctx.settings.git_branch}"


def _access(ctx: Context, url: str) -> Access:
    private = ctx.workspace.secrets
    if url.startswith("https://"):
        return over_https(url, ctx.settings.git_token, private, ctx.variables.get("SSL_CERT_FILE", ""))
    if url.startswith("file://"):
        return over_file(url)
    keys, agent = _ssh_keys(ctx, private)
    return over_ssh(url, keys, _known_hosts(ctx, url), private, agent)


def _ssh_keys(ctx: Context, private: Path) -> tuple[list[Path], str]:
    """The key of the settings; else those of the operator, and the agent."""
    if ctx.settings.git_ssh_key is not None:
        return [write_private(private / "git-ssh-key", ctx.settings.git_ssh_key.reveal())], ""
    directory = private / "git-ssh-keys"
    directory.mkdir(mode=0o700)
    home, agent = ctx.variables.get("HOME", ""), ctx.variables.get("SSH_AUTH_SOCK", "")
    copied = Ssh(ctx.children, ctx.child_env, directory).copy_keys(Path(home) / ".ssh") if home else []
    if copied:
        ctx.reporter.note(f"K0SCTL_GIT_SSH_KEY is not set: using {', '.join(copied)} of {home}/.ssh")
    elif not agent:
        ctx.reporter.warn("K0SCTL_GIT_SSH_KEY is not set, and there is no key in ~/.ssh and no SSH agent")
    return [directory / name for name in copied], agent


def _known_hosts(ctx: Context, url: str) -> str:
    if ctx.settings.git_known_hosts is not None:
        return ctx.settings.git_known_hosts
    home = ctx.variables.get("HOME", "")
    own = Path(home) / ".ssh" / "known_hosts"
    if home and own.is_file():
        return own.read_text(encoding="utf-8", errors="replace")
    raise ConfigurationError(
        f"nothing says which SSH host key {url} must show: K0SCTL_GIT_KNOWN_HOSTS is not set",
        resolution=f"make its lines with: {keyscan(url)}; compare the fingerprints with what its operator publishes",
    )
