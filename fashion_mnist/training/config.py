"""Settings: of a training (flags and YAML keys) and of the service (environment variables)."""

import socket
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError

MOST_WORKERS: Final = 16
"""Of those that are started unasked: each takes 200 MB."""
COMPACT: Final = "compact"
WIDE: Final = "wide"
BACKBONES: Final = {"vgg16": 224, "resnet18": 224, "mobilenet_v3_small": 224, "efficientnet_lite0": 224}
"""Networks with pretrained weights, and the side in pixels of the images that these were learnt on."""
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

    def resolve(self, network: str = COMPACT, input_size: int | None = None) -> Self:
        """The same settings with nothing left to decide.

        network, input_size: of the model that the training starts from, if there is one. input_size
        stays None for a network that takes any.
        """
        name = network if self.network == "auto" else self.network
        backbone = name in BACKBONES
        pretrained = self.pretrained and backbone and self.from_ is None
        learnt = backbone and (pretrained or self.from_ is not None)
        return self.model_copy(
            update={
                "network": name,
                "input_size": self.input_size or input_size or BACKBONES.get(name),
                "pretrained": pretrained,
                "backbone_rate": self.backbone_rate or (BACKBONE_RATE if learnt else 1.0),
                "optimizer": self.optimizer
                if self.optimizer != "auto"
                else "muon"
                if name == COMPACT
                else "sgd",
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


class ServeConfig(BaseSettings):
    """The service. Each field is a variable: `batch_size` is FASHION_MNIST_BATCH_SIZE."""

    model_config = SettingsConfigDict(env_prefix="FASHION_MNIST_", frozen=True, extra="ignore")

    model: str | None = Field(
        None, description="tag, folder or `bundled` (default: latest in the store, else bundled)"
    )
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - as BentoML
    port: int = Field(3000, ge=1, le=65535, description="port to listen on")
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="processes, each with its own copy of the model (default: one a processor; the image "
        "sets 1)",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="inference threads a worker (default: its share of the processors)"
    )
    precision: Literal["auto", "int8", "bf16", "fp32"] = Field(
        "auto", description="of inference: auto takes the fastest that model and processor have"
    )
    batch_size: int = Field(
        16,
        ge=2,
        le=16,
        description="requests that one batch may join: 2, 4, 8 or 16; others are rounded down",
    )
    max_latency_ms: int = Field(
        10_000, ge=1, description="a request that has waited longer in the queue is answered 503"
    )
    max_in_flight: int = Field(
        1024, ge=1, description="requests a worker holds at once; more are answered 503"
    )
    max_body_bytes: int = Field(33_554_432, ge=1, description="largest body")
    max_buffered_bytes: int = Field(
        268_435_456,
        ge=1,
        description="bodies over 8 KB that a worker holds at once, together, at least max_body_bytes; more "
        "are answered 503",
    )
    max_images: int = Field(10_000, ge=1, description="images in one request")
    max_pixels: int = Field(40_000_000, ge=1, le=178_956_970, description="width times height of one picture")
    body_timeout_s: float = Field(20.0, gt=0, le=3600, description="time for a body to arrive")
    cors_origins: str = Field(
        "", description="origins that browsers may call from, with commas between them, or `*`"
    )
    access_log: bool = Field(False, description="log each request")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"no address ({error}); give one of this machine, as 127.0.0.1") from error
        return host

    @property
    def worker_count(self) -> int:
        """Processes: as many as asked for, or one a processor."""
        return self.workers or min(available_cpus(), MOST_WORKERS)

    @property
    def threads_a_worker(self) -> int:
        """Inference threads of each worker."""
        return self.threads or max(1, available_cpus() // self.worker_count)

    def bentoml_settings(self) -> dict[str, Any]:
        """These settings as keywords of `@bentoml.service`."""
        origins = [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
        return {
            "workers": self.worker_count,
            "http": {
                "host": self.host,
                "port": self.port,
                "cors": {
                    "enabled": bool(origins),
                    "access_control_allow_origins": origins,
                    "access_control_allow_methods": ["GET", "POST", "OPTIONS"],
                    "access_control_allow_headers": ["Content-Type", "X-Request-ID"],
                    "access_control_expose_headers": ["X-Request-ID", "Retry-After"],
                },
            },
            "logging": {"access": {"enabled": self.access_log}},
        }


def read_serve_config() -> ServeConfig:
    """Read the environment. Raises ConfigError that names the variable."""
    try:
        return ServeConfig()
    except ValidationError as error:
        problem = error.errors()[0]
        name = f"FASHION_MNIST_{str(problem['loc'][0]).upper()}"
        raise ConfigError(f"{name}={str(problem['input'])[:200]}: {problem['msg']}") from error
