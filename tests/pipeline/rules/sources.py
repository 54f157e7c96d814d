"""Sources of resources that ignore what they do not know, or fail only when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.pipeline.rules.model import Pipeline

#: https://github.com/concourse/time-resource#source-configuration; it ignores what it does not know.
_TIME: Final = {"interval", "start", "stop", "days", "location", "initial_version", "start_after"}


def timers(pipeline: Pipeline) -> Iterator[str]:
    """Without a first version a job that is started by hand outside of the window is pending."""
    for resource in pipeline.of_type("time"):
        for key in resource["source"]:
            if key not in _TIME:
                yield f"resource {resource['name']}: {key} is no key of the time resource, which ignores it"
        if resource["source"].get("initial_version") is not True:
            yield f"resource {resource['name']}: initial_version must be true"


def mail_source(pipeline: Pipeline) -> Iterator[str]:
    """In the format of pcfseceng/email-resource, where a port that is no text fails every mail."""
    for resource in pipeline.of_type("email"):
        source = resource["source"]
        if not isinstance(source.get("smtp", {}).get("port"), str):
            yield f'resource {resource["name"]}: smtp.port must be a text, such as "587"'
        if not isinstance(source.get("to"), list) or not source.get("from"):
            yield f"resource {resource['name']}: to must be a list, and from an address"
