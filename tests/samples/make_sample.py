"""Write the Fashion-MNIST sample next to this file: the first 200 and 100 images of each class.

FOLDER holds the four original files: `python tests/samples/make_sample.py FOLDER`.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

from fashion_mnist.data.readers.idx import read_idx_folder


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write uint8 as IDX.gz, without name and time so that the bytes are always the same."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


def main(folder: Path) -> None:
    train, test = read_idx_folder(folder)
    assert test is not None
    target = Path(__file__).parent / "fashion-mnist-sample"
    target.mkdir(exist_ok=True)
    for stem, (images, labels), count in (("train", train, 200), ("t10k", test, 100)):
        rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))
        write_idx(target / f"{stem}-images-idx3-ubyte.gz", images[rows])
        write_idx(target / f"{stem}-labels-idx1-ubyte.gz", labels[rows].astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
