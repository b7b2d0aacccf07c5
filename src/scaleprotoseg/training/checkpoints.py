"""Checkpoints that are never incomplete, even if the training is killed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from scaleprotoseg.files import write_file


class AtomicCheckpoints(TorchCheckpointIO):
    """A plugin that writes checkpoints atomically; Lightning may overwrite the last checkpoint in place."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write one checkpoint.

        Raises:
            UserError: If the file cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())
