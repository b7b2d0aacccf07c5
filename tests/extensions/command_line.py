"""The command line, with one more line in each of three tables."""

from scaleprotoseg.evaluation.faithfulness import SCORES
from scaleprotoseg.model.heads import HEADS, HeadKind
from scaleprotoseg.training.phases import PHASES

if __name__ == "__main__":
    HEADS["hidden-layer"] = HeadKind("tests.extensions.head:HiddenLayerHead", ("classifier",))
    PHASES["scale-head"] = "tests.extensions.phase:ScaleHead"
    SCORES["prototypes_per_scale"] = "tests.extensions.score:prototypes_per_scale"

    from scaleprotoseg.cli import main  # The tables are read when the command line is imported.

    main()
