"""Checkpoints that a killed training finds whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from scaleprotoseg.files import write_file


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and moves it there; Lightning's own way may copy over the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes one checkpoint.

        Raises:
            UserError: If the place cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())
