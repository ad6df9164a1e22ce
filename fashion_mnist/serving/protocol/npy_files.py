"""Reads untrusted .npy and .npz files to an array of numbers: no pickles, no allocation sized by a header."""

import io
import zipfile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError

ZIP: Final = b"PK"
"""Start of a .npz, which is a zip archive."""
MAX_NPY_HEADER_BYTES: Final = 256
"""numpy.save writes 118. numpy parses the header as a Python literal; a long one would take a second."""
ZIP_ENTRY: Final = b"PK\1\2"
MAX_ZIP_ENTRIES: Final = 8
"""zipfile takes 500 bytes of memory for each entry of the archive's directory."""


def read_array(body: bytes, max_bytes: int) -> NDArray[Any]:
    """Read a .npy file, or a .npz with one array. max_bytes: limit on what a .npz unpacks to.

    Returns numbers of any type, shape and value. Raises InputError: broken_npy, wrong_dtype, wrong_shape (a
    .npz with several arrays), body_too_large.
    """
    return _read_npy(_unpack(body, max_bytes) if body.startswith(ZIP) else body)


def _unpack(body: bytes, max_bytes: int) -> bytes:
    """Return the only member of a zip archive."""
    if body.count(ZIP_ENTRY) > MAX_ZIP_ENTRIES:
        raise _several("many")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            member = _only_member(archive, max_bytes)
            with archive.open(member) as file:
                return file.read(member.file_size)  # without a size, it would inflate all of a lying archive
    except InputError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, EOFError, RuntimeError, …
        raise InputError(
            "broken_npy", "the body is not a .npz file; send a file from numpy.savez_compressed"
        ) from error


def _only_member(archive: zipfile.ZipFile, max_bytes: int) -> zipfile.ZipInfo:
    """Return the only member of an archive if it may be inflated, judging by its header."""
    members = archive.infolist()
    if len(members) != 1:
        raise _several(str(len(members)))
    (member,) = members
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("broken_npy", "the .npz is neither stored nor deflated; use numpy.savez_compressed")
    if member.file_size > max_bytes:
        raise InputError(
            "body_too_large",
            f"the .npz unpacks to {member.file_size} bytes, at most {max_bytes} are accepted; "
            "split the request",
        )
    return member


def _several(count: str) -> InputError:
    return InputError("wrong_shape", f"the .npz holds {count} arrays, expected one; send one file for each")


def _read_npy(body: bytes) -> NDArray[Any]:
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file, MAX_NPY_HEADER_BYTES)
    except Exception as error:  # numpy parses the header as a Python literal, which can raise nearly anything
        raise InputError("broken_npy", "the body is not a .npy file; send a file from numpy.save") from error
    if dtype.kind not in "iuf":
        raise InputError("wrong_dtype", f"the array is {dtype}, expected numbers 0..255, such as uint8")
    if len(shape) > 8 or not all(type(length) is int and length >= 0 for length in shape):
        raise InputError("broken_npy", "the .npy header has an invalid shape; send a file from numpy.save")
    start = file.tell()
    size = dtype.itemsize
    for length in shape:  # Python integers: no overflow
        size *= length
    if len(body) - start != size:
        raise InputError(
            "broken_npy",
            f"the .npy file holds {len(body) - start} bytes of values, its header says {size}; "
            "send the whole file",
        )
    values = np.frombuffer(body, dtype, offset=start)
    try:
        return values.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:  # (0, 10**23): no values, but a length beyond 64 bits
        raise InputError("broken_npy", f"the .npy header has an invalid shape: {error}") from error
