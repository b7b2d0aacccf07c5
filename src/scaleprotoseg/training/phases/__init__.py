"""Phases of training. A new kind of phase is one file in this folder and one line here."""

from __future__ import annotations

PHASES: dict[str, str] = {
    "fit": "scaleprotoseg.training.phases.fit:Fit",
    "add-prototypes": "scaleprotoseg.training.phases.add_prototypes:AddPrototypes",
    "initialize": "scaleprotoseg.training.phases.initialize:Initialize",
    "project": "scaleprotoseg.training.phases.project:Project",
    "prune-by-neighbours": "scaleprotoseg.training.phases.prune_by_neighbours:PruneByNeighbours",
    "prune-by-parts": "scaleprotoseg.training.phases.prune_by_parts:PruneByParts",
    "group": "scaleprotoseg.training.phases.group:Group",
    "prune": "scaleprotoseg.training.phases.prune:Prune",
    "frame": "scaleprotoseg.training.phases.frame:Frame",
}
"""Subclasses of :class:`~scaleprotoseg.training.phases.base.Phase` by the value of ``do``, in the order of the docs."""
