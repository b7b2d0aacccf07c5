"""Heads, which compute class scores from the pyramid map. A new head is one file in this folder and one line here."""

from __future__ import annotations

from typing import NamedTuple


class HeadKind(NamedTuple):
    """An entry of :data:`HEADS`. It names its class instead of importing it, so that recipes are parsed without torch.

    Attributes:
        path: ``module:Class`` of a subclass of :class:`~scaleprotoseg.model.heads.base.Head`.
        components: Components of the head that a recipe can train.
        prototypes: True if the head decides by similarities to prototypes.
    """

    path: str
    components: tuple[str, ...] = ()
    prototypes: bool = False


HEADS: dict[str, HeadKind] = {
    "direct": HeadKind("scaleprotoseg.model.heads.direct:DirectHead"),
    "linear": HeadKind("scaleprotoseg.model.heads.linear:LinearHead", ("classifier",)),
    "prototypes": HeadKind(
        "scaleprotoseg.model.heads.prototypes:PrototypeHead", ("prototypes", "classifier"), prototypes=True
    ),
}
"""Heads by their name in ``network.head.kind``. Groups are not among them: a phase adds them to a prototype head."""
