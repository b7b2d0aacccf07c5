"""Scores that cannot be measured are reported as such."""

import logging

from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.interpretability import interpretability
from tests.builders.images import PARTS, PartToys, Toys
from tests.builders.networks import grouped_network


class WithoutPartMasks(Toys):
    """Images of a data set with parts, none of which is annotated."""

    parts = PARTS


def test_data_that_shows_no_part(caplog):
    with caplog.at_level(logging.WARNING):
        for dataset, measured in ((PartToys(2), True), (WithoutPartMasks(2), False)):
            scores = interpretability(Context(grouped_network(), dataset))
            assert (scores["consistency"] is not None) == (scores["stability"] is not None) == measured
            assert ("consistency and stability are not measured" in caplog.text) == (not measured)
