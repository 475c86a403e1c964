"""Whatever is cut on a line, boards and certificates are accounted for."""

import random

import line_cuts
import pytest
from line import show

pytestmark = pytest.mark.timeout(300)


def test_some_cuts() -> None:
    found = line_cuts.run(random.Random(2026).sample(line_cuts.CASES, 4))
    assert show(found) == []
    assert sum(found.values()) == 4
