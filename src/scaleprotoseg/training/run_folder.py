"""The folder of a run: paths of all files that a training reads and writes."""

from __future__ import annotations

from pathlib import Path


class RunFolder:
    """Paths in the folder of a run.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        config: The recipe.
        metrics: Metrics of the finished model.
        report: Report on the finished model.
        model: Bundle of the finished model.
        logs: Logs of the fits.
        phase_metrics: Metrics after each phase.
        durations: Seconds by activity.
        features: Feature cache, deleted at the end of the run.
        masks: Masks that the teacher predicted for images without.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.model = path / "model"
        self.logs = path / "logs"
        self.phase_metrics = self.logs / "phases.json"
        self.durations = self.logs / "durations.json"
        self.features = path / "features"
        self.masks = path / "masks"

    def checkpoint(self, index: int) -> Path:
        """Return the bundle of the network after the phase with this index."""
        return self.path / "checkpoints" / f"{index:02d}"

    def steps(self, index: int) -> Path:
        """Return the folder of the training state during the phase with this index."""
        return self.path / "checkpoints" / f"{index:02d}-steps"
