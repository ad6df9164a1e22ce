"""Settings of a training: flags of train.py and YAML keys."""

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from fashion_mnist.errors import ConfigError
from fashion_mnist.networks.catalog import BACKBONES, COMPACT, WIDE
from fashion_mnist.registry.model_folder import ModelRecord

FOLDER_SIDE_PX: Final = 28
"""To which folders of pictures are brought for a network that takes any size."""
BACKBONE_RATE: Final = 0.1
"""Of weights that have learnt before: a larger step forgets what they know."""


class TrainConfig(BaseModel):
    """One training. Each field is a flag of train.py (`--batch-size`) and a YAML key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        "fashion-mnist",
        description="`fashion-mnist`, a folder of IDX files or of class folders, or a CSV of 785 columns",
    )
    test_data: str | None = Field(
        None, description="a source of test images (default: DATA's own, or a tenth of it)"
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="names for the numeric labels of IDX and CSV (default: Fashion-MNIST's ten)",
    )
    input_size: int | None = Field(
        None,
        ge=8,
        le=512,
        description="side in pixels of what the network sees: folders of pictures are read at it, other "
        "images are resized in the network (default: the network's own; 28 for folders with compact)",
    )
    color: bool = Field(False, description="read folders of pictures as RGB instead of gray")
    limit: int | None = Field(
        None, ge=1, description="use only this many training images, drawn evenly over the classes"
    )

    network: str = Field(
        "auto",
        description=f"{COMPACT}, {WIDE}, {', '.join(BACKBONES)}; auto takes that of FROM, else {COMPACT}",
    )
    from_: str | None = Field(
        None, alias="from", description="tag or folder of a model whose weights to start from"
    )
    pretrained: bool = Field(
        True, description="start a backbone from ImageNet's weights, if not FROM a model"
    )
    train: Literal["all", "head"] = Field(
        "all",
        description="all weights, or the last layer alone, on features computed once and not augmented",
    )
    backbone_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="factor on the learning rate of all but the last layer (default: "
        f"{BACKBONE_RATE} for a backbone that has learnt before, else 1)",
    )
    teacher: tuple[str, ...] = Field(
        (), description="tags or folders of models whose mean answer is learnt beside the labels"
    )
    distillation: float = Field(0.7, gt=0, le=1, description="weight of the teachers against the labels")
    epochs: int = Field(20, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images a step")
    optimizer: Literal["auto", "muon", "sgd"] = Field(
        "auto",
        description="of the convolutions; everything else always learns by SGD. auto takes muon for "
        f"{COMPACT}, else sgd",
    )
    learning_rate: float = Field(0.1, gt=0, description="its peak; scale it with the batch size")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum of SGD")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty, not on biases and norms")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    average_decay: float = Field(
        0.996, ge=0, lt=1, description="decay a step of the average of weights that is kept"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="0 keeps out-of-distribution scores")
    flip: bool = Field(True, description="mirror half of the images; switch off for digits, letters")
    shift: int = Field(2, ge=0, description="largest shift in pixels, reflected at the border")
    erase: float = Field(0.5, ge=0, le=1, description="share of images that lose a random rectangle")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of splits, initial weights and augmentation")
    threads: int | None = Field(None, ge=1, description="CPU threads (default: all)")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="of training: auto takes bf16 autocast where the processor has it"
    )

    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better choosing accuracy"
    )
    checkpoint: Path | None = Field(
        None,
        description="file written after each epoch, removed when the model is saved (default: in runs/, "
        "named by settings and data)",
    )
    resume: bool = Field(False, description="go on from the checkpoint, if there is one")
    output: Path | None = Field(
        None, description="write the model folder here too (how the bundled model is made)"
    )

    def resolve(self, start: ModelRecord | None = None) -> Self:
        """Return the settings with every `auto` and default decided; input_size None: any size.

        start: the record of the model that `from` names; network and input size follow it.
        Raises ConfigError when settings contradict each other.
        """
        name, size = (start.network, start.input_size) if start else (COMPACT, None)
        if self.network != "auto":
            name = self.network
        backbone = name in BACKBONES
        pretrained = self.pretrained and backbone and self.from_ is None
        learnt = backbone and (pretrained or self.from_ is not None)
        optimizer = self.optimizer
        if optimizer == "auto":
            optimizer = "muon" if name == COMPACT else "sgd"
        if optimizer == "muon" and name != COMPACT:
            raise ConfigError(
                f"--optimizer muon: gives each kernel a fixed norm, which only the {COMPACT} network is made "
                f"for, not {name}; use sgd"
            )
        if self.train == "head" and not backbone and self.from_ is None:
            raise ConfigError(
                f"--train head: {name} has no pretrained weights to put a new last layer on; "
                "give --from, or one of the networks " + ", ".join(BACKBONES)
            )
        return self.model_copy(
            update={
                "network": name,
                "input_size": self.input_size or size or BACKBONES.get(name),
                "pretrained": pretrained,
                "backbone_rate": self.backbone_rate or (BACKBONE_RATE if learnt else 1.0),
                "optimizer": optimizer,
            }
        )

    def recipe(self) -> dict[str, Any]:
        """The settings that decide how a model comes out: all but where files go and what is resumed."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"checkpoint", "output", "resume", "threads"}
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """What folders of pictures are brought to: (H, W) or (H, W, 3)."""
        side = self.input_size or FOLDER_SIDE_PX
        return (side, side, 3) if self.color else (side, side)


def complete_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of an earlier release in the terms of this one, to be compared with one of today.

    Settings that came later have the value that changes nothing. An input size of 28 was the default,
    and meant folders alone.
    """
    completed = TrainConfig().resolve().recipe() | recipe
    if "train" not in recipe and completed["input_size"] == FOLDER_SIDE_PX:
        completed["input_size"] = None
    return completed
