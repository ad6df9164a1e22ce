"""Where a training runs: processors or a GPU, in one process or in several that share each batch.

Several are started by `torchrun` or `accelerate launch`. Each holds the whole network and learns from its
part of every batch; their gradients are averaged. By accelerate, which finds out what there is.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError

logger = logging.getLogger(__name__)


class Devices:
    """One process among those of a training. Alone, there is nothing to share.

    precision: `auto` takes bf16 where the device has it. count, index: of processes. device: its own.
    """

    def __init__(self, precision: str = "auto") -> None:
        # told of the CPU, it finds the other processes there too; bf16 is ours, for the network alone
        self._accelerator = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.count: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.bf16 = has_bf16(self.device) if precision == "auto" else precision == "bf16"

    def set_threads(self, threads: int | None) -> None:
        """Of the CPU: as many as asked for; else this process's share of them, where there are several.

        torchrun gives each process one.
        """
        if threads is None and self.count > 1:
            threads = max(1, available_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", self.count)))
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that reports, keeps checkpoints and saves the model."""
        return self.index == 0

    def place(self, network: nn.Module) -> None:
        """Move a network here, its kernels in the order that convolutions are fastest in."""
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def spread(self, network: nn.Module) -> Callable[[Tensor], Any]:
        """The forward pass of a placed network, whose gradients are those of all processes.

        Compiled on a GPU, where that pays within an epoch, if there is the C compiler that it takes.
        """
        spread: nn.Module = self._accelerator.prepare_model(network)
        if self.device.type != "cuda":
            return spread
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            logger.warning("there is no C compiler: the network is not compiled for the GPU, and slower")
            return spread
        return torch.compile(spread)

    def autocast(self) -> AbstractContextManager[Any]:
        """The forward pass in bf16, or as it is."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def steps(self, count: int, batch_size: int) -> int:
        """Batches in an epoch of `count` images. The last may be smaller, but a single image is left out:
        batch normalisation cannot train on one. Several processes leave out what makes no whole batch.

        Raises ConfigError where they cannot share the batches.
        """
        if self.count == 1:
            return count // batch_size + (count % batch_size > 1)
        if batch_size % self.count or batch_size < 2 * self.count or count < batch_size:
            raise ConfigError(
                f"--batch-size {batch_size}: {self.count} processes share each batch evenly, two images or "
                f"more each, and there are {count}; give a multiple of {self.count}"
            )
        return count // batch_size

    def share(self, rows: Tensor) -> Tensor:
        """The part of a batch's rows that is this process's."""
        return rows[self.index :: self.count]

    def seed(self, seed: int) -> int:
        """One for this process: the same would change all parts of a batch in the same way."""
        if self.is_main:
            return seed
        # hashed, since torch's generators for the CPU look at the lowest 32 bits alone
        return int.from_bytes(hashlib.sha256(f"{seed} {self.index}".encode()).digest()[:4])

    def sum(self, values: Tensor) -> Tensor:
        """Over all processes."""
        total: Tensor = self._accelerator.reduce(values, "sum")
        return total

    def agree(self, values: list[float]) -> list[float]:
        """The main process's values, in all of them: they stop at the same epoch."""
        values = list(values)
        if self.count > 1:
            broadcast_object_list(values)
        return values

    def check_agreement(self, epochs: int) -> None:
        """See that all processes go on after the same epoch, in the same precision. Raises ConfigError."""
        mine = [float(epochs), float(self.bf16)]
        main = self.agree(mine)
        if mine != main:
            raise ConfigError(
                f"process {self.index} goes on after {epochs} epochs in {'bf16' if self.bf16 else 'fp32'}, "
                f"the first after {main[0]:g} in {'bf16' if main[1] else 'fp32'}; give them one file for "
                "--checkpoint, that all can read, and a --precision"
            )

    def dismiss_helpers(self) -> None:
        """End all processes but the main one, which alone goes on to export, measure and save."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()
        if not self.is_main:
            raise SystemExit(0)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
