"""The worked example of the report: one decision, calculated step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaleprotoseg.explanation.decomposition import GroupContribution, MemberContribution, PixelExplanation
from scaleprotoseg.explanation.payload import ExplainedImage


@dataclass(frozen=True)
class WorkedExample:
    """One decision with all its numbers.

    Attributes:
        image: Position of the image among the explained ones.
        why: The explanation of the pixel.
        best: The group of the predicted class with the largest contribution.
        members: The members of this group; without groups, all prototypes of the class with a positive contribution.
    """

    image: int
    why: PixelExplanation
    best: GroupContribution
    members: tuple[MemberContribution, ...]


def worked_example(images: Sequence[ExplainedImage]) -> WorkedExample | None:
    """Return the first image's decision to which a group of the predicted class contributes; None if there is none."""
    for index, image in enumerate(images):
        why = image.decomposition.at(image.start.x, image.start.y)
        own = [group for group in why.groups if group.class_name == why.class_name and group.contribution > 0]
        if own:
            grouped = image.decomposition.grouped
            members = own[0].members if grouped else tuple(member for group in own for member in group.members)
            return WorkedExample(index, why, own[0], members)
    return None
