"""Random seeds derived from other numbers."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """Return a seed for a combination of numbers, such as the seed of a run and the position of a phase.

    Args:
        *numbers: Integers >= 0; any other combination gives an unrelated seed.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
