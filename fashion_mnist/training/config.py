"""Settings of a training: flags of train.py and YAML keys."""

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fashion_mnist.errors import ConfigError
from fashion_mnist.networks.catalog import BACKBONES, COMPACT, WIDE
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import (
    FASHION_MNIST,
    FASHION_MNIST_CLASSES,
    ModelSpec,
    Preparation,
    normal_names,
)

FOLDER_SIDE_PX: Final = 28
"""Side that folders of pictures are resized to for a network that takes any size."""
BACKBONE_RATE: Final = 0.1
"""Default factor for a trained backbone: larger steps make it forget what it has learnt."""


class TrainConfig(BaseModel):
    """One training. Each field is a flag of train.py (`--batch-size`) and a YAML key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        FASHION_MNIST,
        description="`fashion-mnist`, a folder of IDX files or of class folders, or a CSV with 785 columns",
    )
    test_data: str | None = Field(
        None, description="source of the test images (default: those of DATA, else a tenth of it)"
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="names of the numeric labels of IDX and CSV data, in order; `fashion-mnist` stands for "
        "its ten (default: those for Fashion-MNIST's own files, else the numbers)",
    )
    strict: bool = Field(
        False, description="stop at a file in a class folder that cannot be read, instead of passing it over"
    )
    input_size: int | None = Field(
        None,
        ge=8,
        le=512,
        description="side in pixels of the images that the network sees: folders of pictures are resized "
        "on reading, other images in the network (default: the network's; 28 for folders with compact)",
    )
    color: bool = Field(False, description="read folders of pictures as RGB instead of gray")
    preparation: Literal["auto", "garment", "none"] = Field(
        "auto",
        description="of picture files of another shape than the model's, in training and service: garment "
        "cuts the garment out and puts it light on black, none only resizes; auto is garment for gray images "
        f"of 28 x 28 in the classes of {FASHION_MNIST}, else none",
    )
    limit: int | None = Field(
        None, ge=1, description="use only this many training images, stratified by class"
    )

    network: str = Field(
        "auto",
        description=f"{COMPACT}, {WIDE}, {', '.join(BACKBONES)}; auto is the network of FROM, else {COMPACT}",
    )
    from_: str | None = Field(
        None, alias="from", description="`bundled`, or tag or folder of a stored model, to start from"
    )
    pretrained: bool = Field(
        True, description="start a backbone from ImageNet weights, unless FROM names a model"
    )
    train: Literal["all", "head"] = Field(
        "all",
        description="train all weights, or only the last layer on features computed once, not augmented",
    )
    backbone_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="factor on the learning rate of all layers but the last (default: "
        f"{BACKBONE_RATE} for a backbone that starts from trained weights, else 1)",
    )
    teacher: tuple[str, ...] = Field(
        (), description="tags or folders of models to distil; their mean output is a second target"
    )
    distillation: float = Field(
        0.7, gt=0, le=1, description="weight of the teachers in the loss; the labels get the rest"
    )
    epochs: int = Field(20, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images per step")
    optimizer: Literal["auto", "muon", "sgd"] = Field(
        "auto",
        description="muon trains the convolutions, except a first layer on gray images, which like all other "
        f"layers uses SGD; auto is muon for {COMPACT}, else sgd",
    )
    learning_rate: float = Field(0.1, gt=0, description="peak learning rate; scale it with the batch size")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum of SGD")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty; biases and normalisations are exempt")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    average_decay: float = Field(
        0.996, ge=0, lt=1, description="decay per step of the moving average of the weights, which is saved"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="label smoothing; above 0 it harms out-of-distribution scores"
    )
    flip: bool = Field(True, description="mirror half of the images; switch it off for digits and letters")
    shift: int = Field(2, ge=0, description="largest shift in pixels; the border is reflected")
    erase: float = Field(0.5, ge=0, le=1, description="share of images with a random rectangle erased")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of splits, initial weights and augmentation")
    threads: int | None = Field(None, ge=1, description="CPU threads (default: all)")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="precision of training; auto uses bf16 autocast where the hardware has it"
    )

    patience: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better validation accuracy"
    )
    checkpoint: Path | None = Field(
        None,
        description="file written after each epoch, removed when the model is saved (default: in runs/, "
        "named after settings and data)",
    )
    resume: bool = Field(False, description="continue from the checkpoint of the same settings and data")
    output: Path | None = Field(
        None, description="folder to write the model to as well (the bundled model is made this way)"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _name_classes(cls, classes: Any) -> Any:
        """Replace the shorthand for the ten garments; compose the names."""
        if classes == FASHION_MNIST or classes in ([FASHION_MNIST], (FASHION_MNIST,)):
            return FASHION_MNIST_CLASSES
        if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
            return normal_names(tuple(classes))
        return classes

    def resolve(self, start: ModelRecord | None = None) -> Self:
        """Return the settings with every `auto` and default resolved; input_size None means any size.

        start: the record of the model that `from` names; network and input size follow it.
        Raises ConfigError when settings contradict each other.
        """
        if self.preparation == "garment" and self.color:
            raise ConfigError("--preparation garment: works in gray only; leave out --color")
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
                f"--optimizer muon: works only with the {COMPACT} network, not with {name}, because it fixes "
                "the norm of each kernel; give --optimizer sgd"
            )
        if self.train == "head" and not backbone and self.from_ is None:
            raise ConfigError(
                f"--train head: only the last layer would train, on the random layers of {name}; start from "
                f"a stored model with --from, or choose a pretrained --network: {', '.join(BACKBONES)}"
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
        """Return the settings that define the model."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"checkpoint", "output", "resume", "strict", "threads"}
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape that folders of pictures are resized to: (H, W) or (H, W, 3)."""
        side = self.input_size or FOLDER_SIDE_PX
        return (side, side, 3) if self.color else (side, side)

    def settle_preparation(self, spec: ModelSpec) -> Preparation:
        """Return the preparation of pictures for a model trained on images of this spec."""
        if self.preparation != "auto":
            return self.preparation
        known = (spec.classes, spec.shape) == (FASHION_MNIST_CLASSES, (28, 28))
        return "garment" if known else "none"


def complete_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of an earlier release in the terms of this one, so that the two can be compared.

    Settings added since then get the value that changes nothing. An input size of 28 used to be the
    default, and applied to folders of pictures only.
    """
    completed = TrainConfig().resolve().recipe() | recipe
    if "train" not in recipe and completed["input_size"] == FOLDER_SIDE_PX:
        completed["input_size"] = None
    return completed
