"""The command line, for ``python -m scaleprotoseg``."""

from scaleprotoseg.cli import main

main()
