"""What a pipeline must keep to, so that no backup is lost, no secret is told, and no failure stays unheard.

A rule takes a pipeline and yields a sentence for everything that breaks it. Most of them answer for a defect that
pipelines really had; what Concourse does was seen with Concourse 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from tests.pipeline.rules import backups, jobs, sources, trust
from tests.pipeline.rules.model import Pipeline
from tests.pipeline.rules.structure import structure

Rule: TypeAlias = Callable[[Pipeline], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    structure,
    jobs.timeouts,
    jobs.one_at_a_time,
    jobs.told,
    jobs.logs_survive,
    jobs.no_reruns,
    jobs.same_versions,
    jobs.attempts_on_gets,
    jobs.uninstall_is_locked,
    backups.shallow,
    backups.plain_puts,
    backups.stored,
    backups.rescued,
    backups.kept_when_refused,
    backups.verified,
    backups.restore_by_variable,
    backups.confirmed_by_hand,
    trust.no_logic,
    trust.known_params,
    trust.secrets_stay,
    trust.no_secret_handed_on,
    trust.nothing_public,
    sources.timers,
    sources.mail_source,
)


def problems(pipeline: Pipeline) -> list[str]:
    """What all rules say, each with the rule's name."""
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(pipeline)]
