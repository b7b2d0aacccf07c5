"""``python -m scaleprotoseg``: the command line."""

from scaleprotoseg.cli import main

main()
