"""What has to be kept up to date is found by Renovate."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def read_by(manager: dict[str, list[str]], name: str) -> bool:
    return any(re.search(pattern.strip("/"), name) for pattern in manager["managerFilePatterns"])


def found() -> list[dict[str, str | None]]:
    """What the custom managers find in the Dockerfile."""
    # Python writes a named group with a P
    expressions = [
        expression.replace("(?<", "(?P<")
        for manager in CONFIG["customManagers"]
        if read_by(manager, "Dockerfile")
        for expression in manager["matchStrings"]
    ]
    return [match.groupdict() for expression in expressions for match in re.finditer(expression, DOCKERFILE)]


def arguments() -> dict[str, str]:
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))


def test_every_comment_for_renovate_in_the_dockerfile_is_understood() -> None:
    comments = re.findall(r"^# renovate: .* depName=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(comments) == DOCKERFILE.count("renovate:")
    assert [each["depName"] for each in found()] == comments
    assert {each["datasource"] for each in found()} == {"docker"}


def test_the_images_that_are_built_from_are_the_ones_that_are_followed() -> None:
    images = {name.removesuffix("_IMAGE"): image for name, image in arguments().items() if name.endswith("_IMAGE")}
    assert {"DEBIAN", "K0SCTL"} == set(images)
    assert {each["depName"] for each in found()} == set(images.values())
    debian, k0sctl = (next(each for each in found() if each["depName"] == images[name]) for name in sorted(images))
    assert debian["currentValue"] == arguments()["DEBIAN_TAG"]
    assert debian["currentDigest"] == arguments()["DEBIAN_DIGEST"]
    assert k0sctl["currentValue"] == arguments()["K0SCTL_VERSION"]


def test_no_image_comes_by_another_way() -> None:
    stages = set(re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.MULTILINE)) | {"scratch"}
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) + re.findall(r"--from=(\S+)", DOCKERFILE)
    assert {source for source in sources if not source.startswith("${")} <= stages


def test_every_rule_for_an_image_names_one_that_is_found() -> None:
    named = {name for rule in CONFIG["packageRules"] for name in rule.get("matchPackageNames", [])}
    assert named <= {each["depName"] for each in found()}


def test_every_pin_of_the_lock_is_of_the_form_that_renovate_reads() -> None:
    assert read_by(CONFIG["pip_requirements"], "requirements.lock")
    assert {"pip_requirements", "custom.regex"} <= set(CONFIG["enabledManagers"])
    pins = re.findall(r"^[^\s#].*$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert pins
    for pin in pins:
        # Renovate's hashin leaves out the space before a semicolon
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[\w.]+( ?; [^\\]+)? \\", pin), pin
