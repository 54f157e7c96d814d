"""A fault that no test switches on is a promise nobody keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.practice.faults import FAULTS

TESTS = Path(__file__).resolve().parents[1]
TEXTS = [path.read_text() for path in TESTS.rglob("test_*.py")]


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_test_uses_it(fault: str) -> None:
    assert any(f'"{fault}"' in text or f"'{fault}'" in text for text in TEXTS)
