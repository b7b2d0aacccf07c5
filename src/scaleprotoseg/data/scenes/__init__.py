"""Procedurally generated street scenes: a data set with exact class and part masks that needs no download."""

from scaleprotoseg.data.scenes.reader import SEED, SIZES, VERSION, Scenes, scenes

__all__ = ["SEED", "SIZES", "VERSION", "Scenes", "scenes"]
