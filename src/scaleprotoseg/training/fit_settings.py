"""The keys of a fit."""

# No postponed annotations: jsonargparse would look them up in the modules of subclasses.

from dataclasses import dataclass, field
from typing import Literal

LOSS_WEIGHTS = (
    *("diversity", "invariance", "redundancy", "locality", "pointing"),
    *("distillation", "foreign_l1", "group_entropy"),
)
"""Keys that are weights of losses; each has the name of its loss."""


@dataclass(frozen=True)
class FitSettings:
    """Keys of a phase that trains some components of the network; the others are frozen.

    Attributes:
        do: The kind of phase.
        steps: Number of optimizer steps.
        learning_rates: Learning rate of Adam for each component to train: ``encoder``, ``pyramid``, ``prototypes``
            (their vectors), ``classifier`` (its weights) and ``groups`` (the weights of their members).
        decay: ``poly`` multiplies the learning rates by ``(1 - step / steps) ** 0.9``, ``constant`` keeps them.
        weight_decay: Weight decay of encoder and pyramid; prototypes, classifier and groups have none.
        encoder_norm: Normalization layers of an encoder that is trained. ``frozen``: neither their weights nor their
            batch statistics change; ``free``: the weights are trained and the batch statistics are updated.
        tied: While the pyramid is trained, compute each projected prototype anew from its training patch in every step,
            so that the accuracy lost through projection can be recovered.
        diversity: Weight of the diversity loss (ScaleProtoSeg, section 3.1).
        invariance: Weight of the loss that makes similarities equal on an image and on its noisy copy.
        redundancy: Weight of the loss that keeps different prototypes of one class and scale from responding to the
            same cells. It compares one prototype on the image with another one on the noisy copy.
        pointing: Weight of the loss that makes each prototype of a class and scale respond to a different object part;
            needs annotations of object parts in the training images.
        noise: Standard deviation of Gaussian noise on the normalized image. Above 0, every image also has a noisy copy,
            on which the segmentation loss is computed too.
        window: Above 0, every image also has a masked copy, in which only a window is visible: this number of cells on
            each side of the cell that is most similar to a random prototype of a class in the image. Near this cell,
            the segmentation loss is computed on the masked copy, too.
        locality: Weight of the fraction of a similarity that is lost on the masked copy.
        distillation: Weight of the Kullback-Leibler divergence from a teacher's class probabilities.
        teacher: Name of an earlier phase; the network at the end of that phase is the teacher. If not set, the model in
            ``warm_start`` is the teacher.
        foreign_l1: Weight of the L1 norm of the classifier weights that connect a prototype or group to a class other
            than its own.
        group_entropy: Weight of the entropy of the group weights (ScaleProtoSeg, section 3.2).
    """

    do: Literal["fit"] = "fit"
    steps: int = 0
    learning_rates: dict[str, float] = field(default_factory=dict)
    decay: Literal["constant", "poly"] = "constant"
    weight_decay: float = 0.0
    encoder_norm: Literal["frozen", "free"] = "frozen"
    tied: bool = False
    diversity: float = 0.0
    invariance: float = 0.0
    redundancy: float = 0.0
    pointing: float = 0.0
    noise: float = 0.0
    window: int = 0
    locality: float = 0.0
    distillation: float = 0.0
    teacher: str = ""
    foreign_l1: float = 0.0
    group_entropy: float = 0.0
