"""Street scenes drawn by code: a data set that needs no download, with exact class and part masks."""

from scaleprotoseg.data.scenes.reader import SEED, SIZES, VERSION, Scenes, scenes

__all__ = ["SEED", "SIZES", "VERSION", "Scenes", "scenes"]
