"""Seeds that follow from others."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """A seed for what some numbers name together, such as a run and a phase of it: others for other numbers.

    Args:
        *numbers: Integers >= 0.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
