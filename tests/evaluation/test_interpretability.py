"""What is said of scores that cannot be measured."""

import logging

from scaleprotoseg.evaluation.interpretability import explanations
from scaleprotoseg.model.part_options import PAPER
from tests.evaluation.toys import PARTS, PartToys, grouped_network
from tests.toys import Toys


class Unlabelled(Toys):
    """Has parts, and shows none."""

    parts = PARTS


def test_data_that_shows_no_part(caplog):
    with caplog.at_level(logging.WARNING):
        for dataset, measured in ((PartToys(2), True), (Unlabelled(2), False)):
            scores, _ = explanations(grouped_network(), dataset, PAPER)
            assert (scores["consistency"] is not None) == (scores["stability"] is not None) == measured
            assert ("consistency and stability are not measured" in caplog.text) == (not measured)
