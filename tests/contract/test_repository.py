"""The chain of trust against real attacks: what is not proven ends with exit 5 before anybody gets a byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from handler.archive import Names
from handler.errors import ConfigurationError, HandlerError, IntegrityError
from handler.publishing import Change
from handler.repository import NoUsableLatest
from handler.secret import Secret
from handler.tools.gpg import Gpg
from tests.contract.conftest import GpgOf, Template
from tests.support import branch as made
from tests.support.branch import CIPHER, NOW, PASSWORD, PREFIX, Desk, PlainGit, copy
from tests.support.keys import KeyMaker, KeyPair

pytestmark = pytest.mark.contract

Attack = Callable[[Path, PlainGit, str, str], None]
NEWER = Names(taken_at=NOW - timedelta(days=1))
OLDER = Names(taken_at=NOW - timedelta(days=2))
LATEST = f"{PREFIX}_latest"


def refused(desk: Desk, directory: Path, says: str, *, accept: str | None = None, choice: str = "latest") -> None:
    with pytest.raises(IntegrityError, match=says) as caught:
        desk.prove(directory, accept=accept, choice=choice)
    assert caught.value.exit_code == 5
    assert caught.value.resolution


def sign(maker: KeyMaker, who: KeyPair, data: bytes, *, more: tuple[str, ...] = ("--detach-sign",)) -> bytes:
    path = maker.home / "signed"
    path.write_bytes(data)
    output = maker.home / "signed.asc"
    maker.gpg("--yes", "--armor", "-u", who.fingerprint, *more, "--output", str(output), str(path))
    return output.read_bytes()


def test_a_good_branch(desk: Desk, branch: Path, template: Template) -> None:
    assert desk.prove(branch) == template.newer
    assert desk.prove(branch, choice=OLDER.stem) == template.older
    assert desk.prove(branch, choice=OLDER.ciphertext) == template.older
    verified = desk.verify(branch)
    assert verified.manifest is not None
    assert verified.manifest.taken_at == NEWER.taken_at
    assert verified.ciphertext.stat().st_mode & 0o777 == 0o600
    assert not desk.trust(branch).unsigned


def test_a_file_that_was_changed_on_disk_is_not_what_is_read(desk: Desk, branch: Path, template: Template) -> None:
    for name in (NEWER.ciphertext, NEWER.manifest, NEWER.signature, "secret.gpg"):
        (branch / name).write_bytes(b"evil")
    (branch / LATEST).unlink()
    (branch / LATEST).symlink_to("/etc/passwd")
    (branch / ".git" / "index").write_bytes(b"garbage")
    assert desk.prove(branch) == template.newer


# --- objects -----------------------------------------------------------------------------------------------------

OBJECTS = {
    "commit": ("commit", "HEAD"),
    "tree": ("tree", "HEAD^{tree}"),
    "manifest": ("blob", f"HEAD:{NEWER.manifest}"),
    "signature": ("blob", f"HEAD:{NEWER.signature}"),
    "ciphertext": ("blob", f"HEAD:{NEWER.ciphertext}"),
    "latest": ("blob", f"HEAD:{LATEST}"),
    "secret": ("blob", "HEAD:secret.gpg"),
}
MAIN = ("commit", "tree", "manifest", "ciphertext")
#: The subtle attacks on everything, the crude ones where they differ.
ATTACKS: tuple[tuple[Attack, tuple[str, ...]], ...] = (
    (made.flip_loose, MAIN),
    (made.flip_packed, MAIN),
    (made.swap_loose, tuple(OBJECTS)),
    (made.swap_packed, tuple(OBJECTS)),
    (made.drop, ("tree", "secret")),
    (made.cut, ("commit", "ciphertext")),
)


@pytest.mark.parametrize(
    ("attack", "what"),
    [pytest.param(attack, what, id=f"{attack.__name__}-{what}") for attack, kinds in ATTACKS for what in kinds],
)
def test_damaged_objects(desk: Desk, branch: Path, plain: PlainGit, what: str, attack: Attack) -> None:
    kind, revision = OBJECTS[what]
    attack(branch, plain, plain(branch, "rev-parse", revision), kind)
    refused(desk, branch, "damaged")


def test_a_tag_or_a_commit_in_place_of_what_was_asked_for(desk: Desk, branch: Path, plain: PlainGit) -> None:
    """git follows a tag to the blob that it names, and a commit to its tree."""
    oid = plain(branch, "rev-parse", f"HEAD:{NEWER.manifest}")
    made.explode(branch, plain)
    tag = b"object " + plain.write(branch, b"evil").encode() + b"\ntype blob\ntag x\ntagger a <b> 1 +0000\n\nx\n"
    source = made.loose(branch, plain.write(branch, tag, "tag"))
    made.loose(branch, oid).unlink()
    made.loose(branch, oid).write_bytes(source.read_bytes())
    refused(desk, branch, "damaged")


def test_replace_refs_are_not_followed(desk: Desk, branch: Path, plain: PlainGit, template: Template) -> None:
    for path in (NEWER.manifest, NEWER.ciphertext, "secret.gpg"):
        plain(branch, "replace", plain(branch, "rev-parse", f"HEAD:{path}"), plain.write(branch, b"evil"))
    tree = plain(branch, "rev-parse", "HEAD~2^{tree}")
    evil = plain.commit_tree(branch, tree, [])
    plain(branch, "replace", plain.head(branch), evil)
    assert plain(branch, "show", f"HEAD:{NEWER.manifest}", check=False) != template.newer.decode("latin-1")
    assert desk.prove(branch) == template.newer


def test_objects_may_come_from_alternates(desk: Desk, branch: Path, template: Template, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (branch / ".git/objects").rename(elsewhere)
    (branch / ".git/objects/info").mkdir(parents=True)
    (branch / ".git/objects/info/alternates").write_text(f"{elsewhere}\n/nowhere\n")
    assert desk.prove(branch) == template.newer


def test_names_that_leave_the_tree(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    blob = bytes.fromhex(plain.write(branch, b"x"))
    tree = plain.raw(branch, "tree", "HEAD^{tree}")
    for name in (b"..", b".", b".git", b"a/../../b"):
        evil = plain.write(branch, b"100644 " + name + b"\0" + blob + tree, "tree")
        commit = plain.commit_tree(branch, evil, [], signer=cluster_key.fingerprint)
        plain(branch, "update-ref", "HEAD", commit)
        refused(desk, branch, "damaged: an entry cannot be read")


def test_a_gitlink_or_a_directory_in_place_of_a_file(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    tree = plain.raw(branch, "tree", "HEAD^{tree}")
    evil = plain.write(branch, tree.replace(b"100644 " + NEWER.ciphertext.encode(), b"160000 " + NEWER.ciphertext.encode()), "tree")  # fmt: skip  # noqa: E501
    commit = plain.commit_tree(branch, evil, [], signer=cluster_key.fingerprint)
    plain(branch, "update-ref", "HEAD", commit)
    refused(desk, branch, "not a regular file")


# --- HEAD --------------------------------------------------------------------------------------------------------


def test_an_unsigned_head(desk: Desk, branch: Path, plain: PlainGit, template: Template) -> None:
    signed = plain.head(branch)
    head = plain.commit(branch)
    refused(desk, branch, "is not signed")
    with pytest.raises(IntegrityError) as caught:
        desk.trust(branch)
    assert f"K0SCTL_ACCEPT_COMMIT={head}" in caught.value.resolution
    for other in (signed, head[:12], head.upper(), "", f"{head} "):
        refused(desk, branch, "is not signed", accept=other)
    assert desk.trust(branch, accept=head).unsigned
    assert desk.prove(branch, accept=head) == template.newer


def test_the_accepted_commit_becomes_a_signed_parent(desk: Desk, branch: Path, plain: PlainGit) -> None:
    head = plain.commit(branch, {"foreign": b"x"})
    new, _ = desk.write(desk.change(b"content", NOW), at=NOW, accept=head)
    assert plain(branch, "rev-parse", f"{new}^") == head
    assert desk.prove(branch) == b"content"


def test_a_foreign_signature_is_never_accepted(desk: Desk, branch: Path, plain: PlainGit, foreign_key: KeyPair) -> None:
    head = plain.commit(branch, signer=foreign_key.fingerprint)
    refused(desk, branch, "unknown key")
    refused(desk, branch, "unknown key", accept=head)


def test_a_foreign_key_that_gpg_knows_is_still_foreign(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, foreign_key: KeyPair, tmp_path: Path,
    children: object, gpg_of: GpgOf,
) -> None:  # fmt: skip
    gpg: Gpg = gpg_of(cluster_key)
    gpg.import_recovery_keys(foreign_key.public)
    try:
        plain.commit(branch, signer=foreign_key.fingerprint)
        refused(desk, branch, "signed by another key")
    finally:
        gpg._gnupg.delete_keys(foreign_key.fingerprint)


def signed_raw(payload: bytes, *signatures: bytes, header: bytes = b"gpgsig") -> bytes:
    head, _, message = payload.partition(b"\n\n")
    lines = b"".join(b"\n" + header + b" " + signature.rstrip(b"\n").replace(b"\n", b"\n ") for signature in signatures)
    return head + lines + b"\n\n" + message


def unsigned_payload(branch: Path, plain: PlainGit) -> bytes:
    tree, parent = plain(branch, "rev-parse", "HEAD^{tree}"), plain.head(branch)
    return plain.raw(branch, "commit", plain.commit_tree(branch, tree, [parent]))


def test_the_hand_made_commit_is_right(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, template: Template
) -> None:
    payload = unsigned_payload(branch, plain)
    good = signed_raw(payload, sign(plain.maker, cluster_key, payload))
    plain(branch, "update-ref", "HEAD", plain.write(branch, good, "commit"))
    assert desk.prove(branch) == template.newer


def test_two_signatures_in_a_commit(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, foreign_key: KeyPair
) -> None:
    payload = unsigned_payload(branch, plain)
    ours, theirs = sign(plain.maker, cluster_key, payload), sign(plain.maker, foreign_key, payload)
    for signatures in ((ours, ours), (ours, theirs), (theirs, ours)):
        evil = plain.write(branch, signed_raw(payload, *signatures), "commit")
        plain(branch, "update-ref", "HEAD", evil)
        refused(desk, branch, "carries 2 signatures")
    both = signed_raw(signed_raw(payload, ours), theirs, header=b"gpgsig-sha256")
    plain(branch, "update-ref", "HEAD", plain.write(branch, both, "commit"))
    refused(desk, branch, "carries 2 signatures")
    for armor in (theirs + ours, ours + theirs, sign(plain.maker, cluster_key, payload, more=(
        "--detach-sign", "-u", foreign_key.fingerprint))):  # fmt: skip
        plain(branch, "update-ref", "HEAD", plain.write(branch, signed_raw(payload, armor), "commit"))
        refused(desk, branch, "signature")


def test_a_signature_from_another_commit(desk: Desk, branch: Path, plain: PlainGit) -> None:
    raw = plain.raw(branch, "commit", "HEAD")
    start = raw.index(b"gpgsig ")
    signature = raw[start + len(b"gpgsig ") : raw.index(b"\n\n", start)].replace(b"\n ", b"\n")
    evil = signed_raw(unsigned_payload(branch, plain), signature)
    plain(branch, "update-ref", "HEAD", plain.write(branch, evil, "commit"))
    refused(desk, branch, "does not fit")


def test_what_is_no_detached_signature(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    """A good signature on something else that brings its own content."""
    payload = unsigned_payload(branch, plain)
    for more in (("--sign",), ("--clear-sign",)):
        evil = signed_raw(payload, sign(plain.maker, cluster_key, b"other content\n", more=more))
        plain(branch, "update-ref", "HEAD", plain.write(branch, evil, "commit"))
        refused(desk, branch, "is not signed|signature|carries|damaged")


def test_garbage_in_place_of_a_signature(desk: Desk, branch: Path, plain: PlainGit) -> None:
    payload = unsigned_payload(branch, plain)
    for signature in (b"", b"garbage", b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----"):
        evil = plain.write(branch, signed_raw(payload, signature), "commit")
        plain(branch, "update-ref", "HEAD", evil)
        refused(desk, branch, "not signed|damaged")
        refused(desk, branch, "not signed|damaged", accept=evil)


def test_an_expired_key_made_head_when_it_was_young(
    tmp_path: Path, branch: Path, desk: Desk, plain: PlainGit, expired_key: KeyPair, gpg_of: GpgOf
) -> None:
    payload = unsigned_payload(branch, plain)
    then = ("--faked-system-time", "20200601T000000", "--detach-sign")
    late = ("--faked-system-time", "20240601T000000", "--ignore-time-conflict", "--detach-sign")
    other = Desk(tmp_path / "old", desk.children, desk.env, gpg_of(expired_key), expired_key, plain)
    good = signed_raw(payload, sign(plain.maker, expired_key, payload, more=then))
    plain(branch, "update-ref", "HEAD", plain.write(branch, good, "commit"))
    assert not other.trust(branch).unsigned
    try:
        late_signature = sign(plain.maker, expired_key, payload, more=late)
    except AssertionError:
        return  # gpg itself does not sign with an expired key
    plain(branch, "update-ref", "HEAD", plain.write(branch, signed_raw(payload, late_signature), "commit"))
    with pytest.raises(IntegrityError, match="already expired"):
        other.trust(branch)


# --- latest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd", "..", "../secret.gpg", f"./{NEWER.ciphertext}", NEWER.manifest, NEWER.archive, NEWER.config,
        "secret.gpg", "README.md", "", LATEST, f"archive/{NEWER.ciphertext}",
        "k0s_backup_2019-01-01T00-00-00Z.tar.gz.enc",
    ],
    ids=lambda target: target.replace(NEWER.stem, "NEWER"),
)  # fmt: skip
def test_a_swapped_latest(desk: Desk, branch: Path, plain: PlainGit, target: str) -> None:
    head = plain.commit(branch, {LATEST: target})
    with pytest.raises(IntegrityError, match="is not signed"):
        desk.trust(branch)
    refused(desk, branch, "no usable latest", accept=head)


def test_latest_is_a_file_or_missing(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    for content in (NEWER.ciphertext.encode(), None):
        plain.commit(branch, {LATEST: content}, signer=cluster_key.fingerprint)
        refused(desk, branch, "no symlink")
    with pytest.raises(NoUsableLatest) as caught:
        desk.trust(branch).latest(PREFIX)
    assert NEWER.stem in caught.value.resolution


def test_latest_points_to_a_backup_of_another_prefix(desk: Desk, branch: Path, plain: PlainGit) -> None:
    desk.write(desk.change(b"x", NOW, prefix="other"), at=NOW)
    other = Names(prefix="other", taken_at=NOW)
    assert desk.trust(branch).latest("other") is not None
    head = plain.commit(branch, {LATEST: other.ciphertext})
    refused(desk, branch, "no usable latest", accept=head)
    longer = Names(prefix=f"{PREFIX}_x", taken_at=NOW + timedelta(seconds=1))
    desk.write(desk.change(b"x", longer.taken_at, prefix=longer.prefix), at=longer.taken_at, accept=head)
    head = plain.commit(branch, {LATEST: longer.ciphertext})
    refused(desk, branch, "no usable latest", accept=head)


def test_latest_points_to_a_backup_of_another_cluster(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    desk.write(desk.change(b"of another", NOW, accepted=False, uid="uid-2"), at=NOW)
    stem = Names(taken_at=NOW).stem
    assert desk.trust(branch).known_uid(PREFIX, now=NOW) == "uid-1"
    assert desk.prove(branch, choice=stem) == b"of another"
    plain.commit(branch, {LATEST: Names(taken_at=NOW).ciphertext}, signer=cluster_key.fingerprint)
    refused(desk, branch, "no usable latest")
    assert desk.trust(branch).known_uid(PREFIX, now=NOW) == "uid-1"


def test_backups_that_no_latest_names_are_never_no_backup(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    gone = dict.fromkeys(plain(branch, "ls-tree", "--name-only", "HEAD").splitlines())
    for left in (
        {OLDER.manifest: b"{}"}, {f"archive/2020/{OLDER.ciphertext}": b"x"}, {LATEST: "x"},
        {"k0s_backup_1.tar.gz.b64": b"x"},
        {"other_2020-01-01T00-00-00Z.tar.gz.enc": b"x"},
    ):  # fmt: skip
        here = copy(branch, branch.with_name(f"copy-{len(list(branch.parent.iterdir()))}"))
        plain.commit(here, {**gone, **left}, signer=cluster_key.fingerprint)
        refused(desk, here, "no usable latest")
    plain.commit(branch, {**gone, "README.md": b"hello"}, signer=cluster_key.fingerprint)
    assert desk.trust(branch).latest(PREFIX) is None
    assert desk.trust(branch).choose("latest", PREFIX) is None


def test_choosing_by_name(desk: Desk, branch: Path) -> None:
    repository = desk.trust(branch)
    for wrong in ("k0s_backup_2019-01-01T00-00-00Z", "..", "/etc/passwd", f"archive/{NEWER.stem}", ""):
        with pytest.raises(ConfigurationError, match="no backup named"):
            repository.choose(wrong, PREFIX)
    for right in (NEWER.stem, NEWER.archive, NEWER.ciphertext):
        found = repository.choose(right, PREFIX)
        assert found is not None
        assert found.stem == NEWER.stem


# --- manifests ---------------------------------------------------------------------------------------------------


def test_an_edited_manifest(desk: Desk, branch: Path, plain: PlainGit) -> None:
    document = json.loads(plain.raw(branch, "blob", f"HEAD:{NEWER.manifest}"))
    for edit in ({"accepted": False}, {"cipher": "aes-256-ctr"}, {"taken_at": "2019-01-01T00:00:00Z"}):
        edited = (json.dumps(document | edit, indent=2, sort_keys=True) + "\n").encode()
        head = plain.commit(branch, {NEWER.manifest: edited})
        refused(desk, branch, "does not fit|no usable latest", accept=head)
    head = plain.commit(branch, {NEWER.manifest: plain.raw(branch, "blob", f"HEAD~3:{NEWER.manifest}") + b" "})
    refused(desk, branch, "does not fit", accept=head)


def test_an_older_manifest_under_the_newer_name(desk: Desk, branch: Path, plain: PlainGit) -> None:
    def old(path: str) -> bytes:
        return plain.raw(branch, "blob", f"HEAD:{path}")

    both = {NEWER.manifest: old(OLDER.manifest), NEWER.signature: old(OLDER.signature)}
    all_of_it = both | {NEWER.ciphertext: old(OLDER.ciphertext)}
    here = copy(branch, branch.with_name("other"))
    refused(desk, branch, "own file name", accept=plain.commit(branch, both))
    refused(desk, here, "own file name", accept=plain.commit(here, all_of_it))


def test_missing_manifest_or_signature(desk: Desk, branch: Path, plain: PlainGit) -> None:
    here = copy(branch, branch.with_name("other"))
    refused(desk, branch, "no signed manifest", accept=plain.commit(branch, {NEWER.signature: None}))
    refused(desk, here, "no signed manifest", accept=plain.commit(here, {NEWER.manifest: None}))


def test_a_foreign_signature_on_a_manifest(desk: Desk, branch: Path, plain: PlainGit, foreign_key: KeyPair) -> None:
    document = plain.raw(branch, "blob", f"HEAD:{NEWER.manifest}")
    theirs = sign(plain.maker, foreign_key, document)
    refused(desk, branch, "unknown key", accept=plain.commit(branch, {NEWER.signature: theirs}))
    clear = sign(plain.maker, foreign_key, document, more=("--clear-sign",))
    for evil in (clear, b"", NEWER.manifest):
        refused(desk, branch, "signed|damaged", accept=plain.commit(branch, {NEWER.signature: evil}))


@pytest.mark.parametrize(
    ("cluster", "claimed", "signer", "says"),
    [
        ("staging", "backup", "", "another cluster: staging"),
        ("", "other", "", "another branch: other"),
        ("", "backup", "A" * 40, "another signer"),
    ],
)
def test_a_manifest_of_something_else(
    desk: Desk, branch: Path, cluster: str, claimed: str, signer: str, says: str
) -> None:
    desk.write(desk.change(b"content", NOW, cluster=cluster, branch=claimed, signer=signer), at=NOW)
    refused(desk, branch, says)


def test_a_manifest_without_a_branch_fits_any(desk: Desk, branch: Path) -> None:
    desk.write(desk.change(b"content", NOW, branch=None), at=NOW)
    assert desk.prove(branch) == b"content"


def test_a_backup_from_the_future(desk: Desk, branch: Path) -> None:
    at = NOW + timedelta(minutes=4)
    desk.write(desk.change(b"content", at), at=at)
    assert desk.prove(branch) == b"content"
    at = NOW + timedelta(minutes=7)
    desk.write(desk.change(b"content", at), at=at)
    refused(desk, branch, "claims to be taken at")


def test_a_cut_or_swapped_ciphertext(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    content = plain.raw(branch, "blob", f"HEAD:{NEWER.ciphertext}")
    older = plain.raw(branch, "blob", f"HEAD:{OLDER.ciphertext}")
    for evil in (content[:-1], content[:16], b"", content + b"\0", content[:-1] + bytes([content[-1] ^ 1]), older):
        plain.commit(branch, {NEWER.ciphertext: evil}, signer=cluster_key.fingerprint)
        refused(desk, branch, "not what its signed manifest says")
    assert not (desk.scratch / NEWER.ciphertext).exists()
    plain.commit(branch, {NEWER.ciphertext: NEWER.config}, signer=cluster_key.fingerprint)
    refused(desk, branch, "not a regular file")


def test_only_the_private_copy_is_decrypted(desk: Desk, branch: Path, plain: PlainGit, template: Template) -> None:
    repository = desk.trust(branch)
    verified = desk.verify(branch)
    password = repository.password()
    made.drop(branch, plain, plain(branch, "rev-parse", f"HEAD:{NEWER.ciphertext}"), "blob")
    with (desk.scratch / "out").open("wb") as file:
        verified.decrypt(desk.openssl, password, file)
    assert (desk.scratch / "out").read_bytes() == template.newer


# --- secret.gpg --------------------------------------------------------------------------------------------------


def sealed_by(maker: KeyMaker, recipient: KeyPair, signer: KeyPair | None, password: Secret = PASSWORD) -> bytes:
    user = ("-u", signer.fingerprint, "--sign") if signer else ()
    path, output = maker.home / "password", maker.home / "password.gpg"
    path.write_text(password.reveal() + "\n")
    maker.gpg(
        "--yes", "--armor", *user, "-r", recipient.fingerprint, "--trust-model", "always", "--encrypt",
        "--output", str(output), str(path),
    )  # fmt: skip
    return output.read_bytes()


def test_secret_gpg_that_we_did_not_sign(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, foreign_key: KeyPair
) -> None:
    for signer, says in ((None, "secret.gpg is not signed"), (foreign_key, "unknown key")):
        evil = sealed_by(plain.maker, cluster_key, signer)
        refused(desk, branch, says, accept=plain.commit(branch, {"secret.gpg": evil}))
        plain.commit(branch, {"secret.gpg": evil}, signer=cluster_key.fingerprint)
        refused(desk, branch, says)


def test_secret_gpg_swapped_with_another_of_ours(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    other = desk.sealed(Secret("another password of ours"))
    refused(
        desk, branch, "does not decrypt to what its manifest says", accept=plain.commit(branch, {"secret.gpg": other})
    )


def test_secret_gpg_damaged_missing_or_of_another_kind(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    good = plain.raw(branch, "blob", "HEAD:secret.gpg")
    only_signed = sign(plain.maker, cluster_key, PASSWORD.reveal().encode(), more=("--sign",))
    for evil, says in (
        (good[: len(good) // 2], "damaged"),
        (good.replace(b"\n\n", b"\n\nAAAA", 1), "damaged"),
        (b"", "damaged"),
        (PASSWORD.reveal().encode(), "damaged"),
        (only_signed, "damaged"),
        (None, "missing"),
        ("README.md", "missing"),
    ):
        here = copy(branch, branch.with_name(f"copy-{len(list(branch.parent.iterdir()))}"))
        refused(desk, here, f"secret.gpg is {says}", accept=plain.commit(here, {"secret.gpg": evil}))


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "nul\0", "x" * 1024, "tail\n\n"], ids=repr)
def test_unusable_passwords(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, text: str) -> None:
    evil = desk.gpg.encrypt(text.encode() or b"\n", ())
    plain.commit(branch, {"secret.gpg": evil}, signer=cluster_key.fingerprint)
    refused(desk, branch, "usable password")


def test_the_password_of_another_key(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair, foreign_key: KeyPair
) -> None:
    evil = sealed_by(plain.maker, foreign_key, cluster_key)
    plain.commit(branch, {"secret.gpg": evil}, signer=cluster_key.fingerprint)
    with pytest.raises(ConfigurationError, match=r"cannot open secret\.gpg"):
        desk.prove(branch)


def test_what_a_second_init_put_aside_is_read_with_its_own_password(desk: Desk, branch: Path) -> None:
    desk.take(b"first", NOW - timedelta(hours=1))
    aside = "archive/2026-01-01T00-00-00Z"
    change = Change(files={"secret.gpg": desk.sealed(Secret("new password"))}, links={}, moved_to=aside)
    desk.write(change, at=NOW)
    first = Names(taken_at=NOW - timedelta(hours=1)).stem
    assert desk.prove(branch, choice=first) == b"first"
    assert desk.prove(branch, choice=f"{aside}/{first}") == b"first"
    refused(desk, branch, "no usable latest")
    later = NOW + timedelta(seconds=1)
    desk.write(desk.change(b"second", later, password=Secret("new password")), at=later)
    assert desk.prove(branch) == b"second"


# --- the known UID -----------------------------------------------------------------------------------------------


def test_known_uid(desk: Desk, branch: Path) -> None:
    assert desk.trust(branch).known_uid(PREFIX, now=NOW) == "uid-1"
    desk.write(desk.change(b"x", NOW, uid=None), at=NOW)
    assert desk.trust(branch).known_uid(PREFIX, now=NOW) == "uid-1"


# --- a hostile git directory -------------------------------------------------------------------------------------

HOOKS = (
    "reference-transaction", "post-index-change", "post-checkout", "pre-commit", "commit-msg", "post-commit",
    "prepare-commit-msg", "post-update", "update", "pre-receive", "post-receive", "pre-auto-gc", "fsmonitor-watchman",
    "post-rewrite", "post-merge", "pre-push", "push-to-checkout", "proc-receive",
)  # fmt: skip
#: The commands that a repository's configuration may name; %s becomes the command.
CONFIG = """
[core]
  hooksPath = %(hooks)s
  fsmonitor = %(command)s
  sshCommand = %(command)s
  editor = %(command)s
  pager = %(command)s
  askPass = %(command)s
  gitProxy = %(command)s
  alternateRefsCommand = %(command)s
  worktree = %(elsewhere)s
  attributesFile = %(attributes)s
  excludesFile = %(attributes)s
  untrackedCache = true
[gpg]
  program = %(command)s
[gpg "openpgp"]
  program = %(command)s
[gpg "x509"]
  program = %(command)s
[gpg "ssh"]
  program = %(command)s
  defaultKeyCommand = %(command)s
[include]
  path = more
[includeIf "gitdir:/"]
  path = more
[alias]
  cat-file = !%(command)s
  rev-parse = !%(command)s
  commit-tree = !%(command)s
[filter "evil"]
  clean = %(command)s
  smudge = %(command)s
  process = %(command)s
  required = true
[diff]
  external = %(command)s
[diff "evil"]
  command = %(command)s
  textconv = %(command)s
[merge "evil"]
  driver = %(command)s
[url "ext::%(command)s "]
  insteadOf = /
  insteadOf = file://
[url "%(elsewhere)s"]
  pushInsteadOf = /
[protocol]
  allow = always
[protocol "ext"]
  allow = always
[remote "origin"]
  url = ext::%(command)s
  fetch = +refs/heads/*:refs/remotes/origin/*
  promisor = true
  partialclonefilter = blob:none
  uploadpack = %(command)s
  receivepack = %(command)s
  proxy = %(command)s
[extensions]
  partialClone = origin
[uploadpack]
  packObjectsHook = %(command)s
[credential]
  helper = !%(command)s
[commit]
  gpgSign = true
[user]
  signingKey = 0000
[log]
  showSignature = true
[fetch]
  recurseSubmodules = true
[submodule]
  recurse = true
[submodule "x"]
  update = !%(command)s
  active = true
[gc]
  auto = 1
  recentObjectsHook = %(command)s
[maintenance]
  auto = true
[sequence]
  editor = %(command)s
[interactive]
  diffFilter = %(command)s
[trailer "x"]
  command = %(command)s
"""


class Hostile:
    """Makes git directories that want to run a command; `ran` tells whether one did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.marker = root / "ran"
        self.elsewhere = root / "elsewhere"
        self.elsewhere.mkdir()
        self.script = root / "command"
        self.script.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.marker}\nexit 1\n')
        self.script.chmod(0o755)
        self.hooks = root / "hooks"
        self.hooks.mkdir()
        self.attributes = root / "attributes"
        self.attributes.write_text("* filter=evil diff=evil merge=evil\n")

    def infect(self, directory: Path, *, keep_worktree: bool = False) -> None:
        dot = directory / ".git"
        config = CONFIG % {
            "command": self.script, "hooks": self.hooks, "elsewhere": self.elsewhere, "attributes": self.attributes,
        }  # fmt: skip
        if keep_worktree:
            config = config.replace("worktree =", "x =")
        (dot / "more").write_text(f"[gpg]\n program = {self.script}\n[core]\n sshCommand = {self.script}\n")
        (dot / "hooks").mkdir(exist_ok=True)
        for name in HOOKS:
            for hooks in (self.hooks, dot / "hooks"):
                (hooks / name).write_bytes(self.script.read_bytes())
                (hooks / name).chmod(0o755)
        with (dot / "config").open("a") as file:
            file.write(config)
        (dot / "info").mkdir(exist_ok=True)
        (dot / "info/attributes").write_bytes(self.attributes.read_bytes())
        (dot / "info/grafts").write_text("")

    @property
    def ran(self) -> str:
        return self.marker.read_text() if self.marker.exists() else ""


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path / "hostile")


def test_the_trap_works(branch: Path, hostile: Hostile, plain: PlainGit) -> None:
    """git itself runs what the hostile configuration names, so a silent trap would not go unnoticed."""
    hostile.infect(branch, keep_worktree=True)
    plain(branch, "update-ref", "refs/heads/x", "HEAD", check=False)
    assert "reference-transaction" in hostile.ran
    hostile.marker.unlink()
    plain(branch, "status", check=False)
    plain(branch, "verify-commit", "HEAD", check=False)
    assert f"{hostile.script} --" in hostile.ran


def test_a_hostile_repository_is_read_and_written_without_its_commands(
    desk: Desk, branch: Path, hostile: Hostile, template: Template, plain: PlainGit
) -> None:
    hostile.infect(branch)
    assert desk.prove(branch) == template.newer
    assert hostile.ran == ""
    desk.write(desk.change(b"content", NOW), at=NOW)
    assert hostile.ran == ""
    assert desk.prove(branch) == b"content"
    assert hostile.ran == ""
    assert not list(hostile.elsewhere.iterdir())
    assert (branch / Names(taken_at=NOW).ciphertext).exists()


def test_attributes_in_the_tree_run_no_filter(
    desk: Desk, branch: Path, hostile: Hostile, cluster_key: KeyPair, plain: PlainGit
) -> None:
    plain.commit(branch, {".gitattributes": b"* filter=evil text eol=crlf ident\n"}, signer=cluster_key.fingerprint)
    hostile.infect(branch)
    desk.write(desk.change(b"content", NOW), at=NOW)
    assert desk.prove(branch) == b"content"
    assert hostile.ran == ""


def test_missing_objects_are_not_fetched(desk: Desk, branch: Path, hostile: Hostile, plain: PlainGit) -> None:
    """A partial clone fetches them by a command of its configuration."""
    made.explode(branch, plain)
    for path in (NEWER.ciphertext, NEWER.manifest):
        made.loose(branch, plain(branch, "rev-parse", f"HEAD:{path}")).unlink()
    hostile.infect(branch)
    refused(desk, branch, "damaged")
    assert hostile.ran == ""


@pytest.mark.parametrize("relation", ["behind", "ahead", "absent"])
def test_hostile_restore_and_backup(
    desk: Desk, branch: Path, hostile: Hostile, template: Template, plain: PlainGit, relation: str
) -> None:
    """Fetching from one into the other, and the fast-forward, run nothing either."""
    plain(branch.parent, "clone", "-q", "--depth", "1", f"file://{branch}", str(desk.restore))
    if relation == "absent":
        branch.rename(branch.with_name("gone"))
    else:
        plain(branch, "reset", "-q", "--hard", "HEAD^" if relation == "behind" else "HEAD")
        (branch / ".git/objects/info").mkdir(exist_ok=True)
        (branch / ".git/objects/info/alternates").write_text(f"{template.directory}/.git/objects\n")
        hostile.infect(branch)
    if relation == "ahead":
        desk.take(b"ahead", NOW - timedelta(hours=1))
    hostile.infect(desk.restore)
    desk.write(desk.change(b"content", NOW), at=NOW)
    assert hostile.ran == ""
    assert desk.prove(desk.backup) == b"content"
    assert not list(hostile.elsewhere.iterdir())


def test_a_fetch_into_a_hostile_repository_asks_it_nothing(
    desk: Desk, branch: Path, hostile: Hostile, template: Template, plain: PlainGit
) -> None:
    """``core.alternateRefsCommand`` runs in every fetch into a repository with alternates."""
    plain(branch.parent, "clone", "-q", "--depth", "1", f"file://{branch}", str(desk.restore))
    plain(branch, "reset", "-q", "--hard", "HEAD^")
    (branch / ".git/objects/info").mkdir(exist_ok=True)
    (branch / ".git/objects/info/alternates").write_text(f"{template.directory}/.git/objects\n")
    plain(branch, "config", "core.alternateRefsCommand", str(hostile.script))
    trap = copy(branch, desk.root / "trap")
    plain(desk.restore, "commit", "-q", "--allow-empty", "-m", "new", f"-S{desk.pair.fingerprint}")
    plain(trap, "fetch", "-q", str(desk.restore), "HEAD", check=False)
    assert hostile.ran  # the trap works
    hostile.marker.unlink()
    desk.take(b"content")
    assert hostile.ran == ""
    assert desk.prove(branch) == b"content"


def test_variables_of_the_environment_have_no_effect(
    desk: Desk, branch: Path, template: Template, hostile: Hostile, cluster_key: KeyPair, tmp_path: Path
) -> None:
    """The whole program, since it is its start that drops the environment; the work tree alone is not enough."""
    hostile.infect(branch)
    script = str(hostile.script)
    config = tmp_path / "evil.gitconfig"
    config.write_text(f"[gpg]\n program = {script}\n[core]\n fsmonitor = {script}\n hooksPath = {hostile.hooks}\n")
    evil = {
        "GIT_DIR": str(tmp_path), "GIT_WORK_TREE": str(tmp_path), "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_SYSTEM": str(config), "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "gpg.program", "GIT_CONFIG_VALUE_0": script,
        "GIT_CONFIG_PARAMETERS": f"'gpg.program={script}'",
        "GIT_SSH_COMMAND": script, "GIT_SSH": script, "GIT_EXEC_PATH": str(hostile.hooks), "GIT_EXTERNAL_DIFF": script,
        "GIT_EDITOR": script, "GIT_ASKPASS": script, "GIT_PAGER": script, "GIT_TEMPLATE_DIR": str(hostile.root),
        "GIT_NAMESPACE": "x", "GIT_REPLACE_REF_BASE": "refs/x", "GIT_GRAFT_FILE": str(config), "GIT_TRACE": "1",
        "GIT_SHALLOW_FILE": str(config), "GIT_DEFAULT_HASH": "sha256", "GIT_PYTHON_GIT_EXECUTABLE": script,
        "GNUPGHOME": str(tmp_path), "GPG_AGENT_INFO": "x", "OPENSSL_CONF": str(config), "LD_PRELOAD": "",
    }  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    key = tmp_path / "key"
    key.write_text(cluster_key.private)
    path = "PYTHONPATH"
    base = {"PATH": os.environ["PATH"], path: str(root), "HOME": str(tmp_path), "K0SCTL_GPG_KEY_FILE": str(key)}
    done = subprocess.run(
        [sys.executable, "-m", "handler", "restore", NEWER.stem, "--to", str(tmp_path / "out")],
        cwd=branch.parent, env={**evil, **base}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert hostile.ran == ""
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == template.newer


def test_grafts_and_a_false_commit_graph_make_no_ancestors(desk: Desk, branch: Path, plain: PlainGit) -> None:
    """`restore/` claims to descend from commits of backup/ that it never saw: they would be dropped."""
    copy(branch, desk.restore)
    desk_only = desk.write(desk.change(b"unpushed", NOW), at=NOW)[0]
    plain.commit(desk.restore, signer=desk.pair.fingerprint)
    head = plain.head(desk.restore)
    grafts = f"{head} {desk_only}\n"
    (desk.restore / ".git/info").mkdir(exist_ok=True)
    (desk.restore / ".git/info/grafts").write_text(grafts)
    with pytest.raises(HandlerError, match="diverged") as caught:
        desk.take(b"x", NOW + timedelta(seconds=5))
    assert caught.value.exit_code == 7
    # and the objects themselves lie: the parent's id names a commit with other parents
    (desk.restore / ".git/info/grafts").unlink()
    plain(desk.restore, "fetch", "-q", str(branch), "HEAD")
    graph_parent = plain(desk.restore, "rev-parse", "HEAD^")
    made.explode(desk.restore, plain)
    raw = plain.raw(desk.restore, "commit", graph_parent)
    old = plain(desk.restore, "rev-parse", f"{graph_parent}^")
    evil = raw.replace(f"parent {old}".encode(), f"parent {desk_only}".encode())
    made._replace(made.loose(desk.restore, graph_parent), zlib.compress(b"commit %d\0" % len(evil) + evil))
    with pytest.raises(IntegrityError, match="damaged"):
        desk.take(b"x", NOW + timedelta(seconds=5))
    assert plain.head(branch) == desk_only


# --- the original layout -----------------------------------------------------------------------------------------


@pytest.fixture
def legacy(desk: Desk, plain: PlainGit, cluster_key: KeyPair) -> Path:
    """What the original system made: base64, an armored password that nobody signed, a commit of the cluster's key."""
    directory = desk.backup
    directory.mkdir()
    plain(directory, "init", "-q")
    source = desk.scratch / "legacy"
    source.write_bytes(b"legacy archive" * 1000)
    subprocess.run(
        ["openssl", "enc", f"-{CIPHER}", "-a", "-pbkdf2", "-pass", "stdin", "-in", str(source),
         "-out", str(directory / "k0s_backup_1700000000.tar.gz.b64")],
        input=PASSWORD.reveal().encode() + b"\n", check=True,
    )  # fmt: skip
    (directory / LATEST).symlink_to("k0s_backup_1700000000.tar.gz.b64")
    (directory / "secret.gpg").write_bytes(sealed_by(plain.maker, cluster_key, None))
    plain(directory, "add", ".")
    plain(directory, "commit", "-q", f"-S{cluster_key.fingerprint}", "-m", "backup")
    return directory


def test_the_original_layout_is_read(desk: Desk, legacy: Path) -> None:
    assert desk.prove(legacy) == b"legacy archive" * 1000
    verified = desk.verify(legacy)
    assert verified.manifest is None
    assert verified.stored.name == "k0s_backup_1700000000.tar.gz"
    assert desk.prove(legacy, choice="k0s_backup_1700000000.tar.gz.b64") == b"legacy archive" * 1000
    assert desk.trust(legacy).known_uid(PREFIX, now=NOW) is None


def test_the_original_layout_needs_a_signed_head(desk: Desk, legacy: Path, plain: PlainGit) -> None:
    plain.commit(legacy, {LATEST: "/etc/passwd"})
    refused(desk, legacy, "is not signed")


def test_the_new_layout_on_top_of_the_original(desk: Desk, legacy: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    change = desk.change(b"new", NOW)
    desk.write(change, at=NOW)
    refused(desk, legacy, "secret.gpg is not signed")
    at = NOW + timedelta(seconds=1)
    desk.write(Change(files={"secret.gpg": desk.sealed()}, links={}), at=at)
    assert desk.prove(legacy) == b"new"
    assert desk.prove(legacy, choice="k0s_backup_1700000000") == b"legacy archive" * 1000
    plain.commit(legacy, {"secret.gpg": sealed_by(plain.maker, cluster_key, None)}, signer=cluster_key.fingerprint)
    refused(desk, legacy, "secret.gpg is not signed")
    refused(desk, legacy, "secret.gpg is not signed", choice="k0s_backup_1700000000")
