"""Devices of a training: CPUs or a GPU, in one process or in several that share each batch.

`torchrun` or `accelerate launch` starts several processes. Each holds the whole network and learns from its
part of every batch; accelerate detects the devices and averages the gradients.
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
    """One process of a training, often the only one.

    precision: `auto` takes bf16 where the device has it. count: number of processes. index, device: those
    of this process.
    """

    def __init__(self, precision: str = "auto") -> None:
        # cpu=True also finds the other processes on CPUs; bf16 is left to autocast(), for the network only
        self._accelerator = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.count: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.bf16 = has_bf16(self.device) if precision == "auto" else precision == "bf16"

    def set_threads(self, threads: int | None) -> None:
        """Set the number of CPU threads; None gives each of several processes its share of the CPUs.

        torchrun would give each process only one.
        """
        if threads is None and self.count > 1:
            threads = max(1, available_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", self.count)))
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def is_main(self) -> bool:
        """True in the one process that reports, writes checkpoints and saves the model."""
        return self.index == 0

    def place(self, network: nn.Module) -> None:
        """Move a network to the device, in channels-last layout, which is the fastest for convolutions."""
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def spread(self, network: nn.Module) -> Callable[[Tensor], Any]:
        """Return the forward pass of a placed network; its gradients are averaged over all processes.

        On a GPU it is compiled if a C compiler is installed; whether that saves time has not been measured.
        """
        spread: nn.Module = self._accelerator.prepare_model(network)
        if self.device.type != "cuda":
            return spread
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            logger.warning("no C compiler: the network is not compiled and may train slower; install gcc")
            return spread
        return torch.compile(spread)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the forward pass: bf16 autocast, or none."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def steps(self, count: int, batch_size: int) -> int:
        """Return the number of batches in an epoch of `count` images.

        The last batch may be smaller, but a single image is left out: batch normalisation cannot train on
        one. Several processes leave out an incomplete last batch.
        Raises ConfigError when the processes cannot share the batches.
        """
        if self.count == 1:
            return count // batch_size + (count % batch_size > 1)
        if batch_size % self.count or batch_size < 2 * self.count or count < batch_size:
            raise ConfigError(
                f"--batch-size {batch_size}: {self.count} processes share each batch evenly, at least two "
                f"images each, and there are {count} images; give a multiple of {self.count}"
            )
        return count // batch_size

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows of a batch."""
        return rows[self.index :: self.count]

    def seed(self, seed: int) -> int:
        """Return a seed for this process: a shared one would augment all parts of a batch alike."""
        if self.is_main:
            return seed
        # hashed into 32 bits: torch's CPU generators ignore the higher ones
        return int.from_bytes(hashlib.sha256(f"{seed} {self.index}".encode()).digest()[:4])

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        total: Tensor = self._accelerator.reduce(values, "sum")
        return total

    def agree(self, values: list[float]) -> list[float]:
        """Return the main process's values in every process, so that all stop at the same epoch."""
        values = list(values)
        if self.count > 1:
            broadcast_object_list(values)
        return values

    def check_agreement(self, epochs: int) -> None:
        """Check that all processes resume at the same epoch and precision. Raises ConfigError."""
        mine = [float(epochs), float(self.bf16)]
        main = self.agree(mine)
        if mine != main:
            raise ConfigError(
                f"process {self.index} resumes after {epochs} epochs in {'bf16' if self.bf16 else 'fp32'}, "
                f"the first after {main[0]:g} in {'bf16' if main[1] else 'fp32'}; give one --checkpoint that "
                "all processes can read, and a --precision"
            )

    def dismiss_helpers(self) -> None:
        """End every process but the main one, which exports, evaluates and saves the model."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()
        if not self.is_main:
            raise SystemExit(0)


def has_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
