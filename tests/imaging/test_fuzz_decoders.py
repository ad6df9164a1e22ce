"""Whatever bytes come, the decoders return images or raise InputError, in bounded time and memory.

HYPOTHESIS_EXAMPLES sets how many bodies are tried; scripts/fuzz_decoders.py tries millions.
"""

import os
import random
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fuzzing

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import cost, pixels
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.spec import ModelSpec

SEEDS = fuzzing.seeds()
HEADS = sorted({b"", *(body[:length] for body in SEEDS for length in (4, 16, 40))})
CASES = sorted((Path(__file__).parent / "cases").glob("*"))
GRAY = ModelSpec(("a", "b"), 28, 28, 1)

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's warnings about damaged files
repeatable = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000")) // 2,
    derandomize=True,
    database=None,
    deadline=None,  # `judge` measures the time
    suppress_health_check=list(HealthCheck),
)


@repeatable
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(head: bytes, rest: bytes) -> None:
    fuzzing.judge(fuzzing.seal(head + rest))


@repeatable
@given(seed=st.sampled_from(SEEDS), rng=st.randoms(use_true_random=False))
def test_damaged_bodies_are_decoded_or_refused(seed: bytes, rng: random.Random) -> None:
    fuzzing.judge(fuzzing.damage(seed, rng, SEEDS))


def test_all_seeds_are_read_but_one_of_odd_json() -> None:
    refused = [seed[:16] for seed in SEEDS if "read" not in fuzzing.judge(seed).outcomes]
    assert refused == [b'{"pixels":[[[1,2']


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_fuzzing_found_stays_mended(case: Path) -> None:
    fuzzing.judge(case.read_bytes())


def segment(code: int, content: bytes) -> bytes:
    return b"\xff%c" % code + struct.pack(">H", len(content) + 2) + content


JPEG = next(body for body in SEEDS if body.startswith(b"\xff\xd8"))
GIF = next(body for body in SEEDS if body.startswith(b"GIF8"))
AT = GIF.index(b"\x2c")
FILL = b"\xff" * 8_000_000
LONG = {
    "fill bytes before the first segment": JPEG[:2] + FILL + JPEG[2:],
    "fill bytes in the scan": JPEG[:-2] + FILL + JPEG[-2:],
    "markers without a length": JPEG[:2] + b"\xff\xd0" * 4_000_000 + JPEG[2:],
    "junk between segments": JPEG[:20] + bytes(8_000_000) + JPEG[20:],
    "only fill bytes": JPEG[:2] + FILL,
    "junk in a GIF": GIF[:AT] + bytes(8_000_000) + GIF[AT:],
    "blocks behind junk in a GIF": GIF[:AT] + b"\0\x21\xfe" + b"\1a" * 4_000_000 + b"\0" + GIF[AT:],
}


@pytest.mark.parametrize("data", LONG.values(), ids=LONG.keys())
def test_bytes_that_pillow_or_libjpeg_reads_one_by_one_are_refused_at_once(data: bytes) -> None:
    start = time.process_time()
    cost.estimate(data, GRAY, 40_000_000)
    with pytest.raises(InputError, match=r"fill bytes|outside of its segments|more than 10000 blocks"):
        pixels.read_picture(data, GRAY)
    assert time.process_time() - start < 0.5


def test_an_empty_block_does_not_lead_pillow_into_another_chain_of_blocks() -> None:
    hidden = b"\x21\xf9\0" + GIF[AT:] + b"\1a" * 4_000_000
    start = time.process_time()
    assert fuzzing.judge(GIF[:AT] + hidden + bytes(len(GIF) % 2)).outcomes[0] == "read"
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("number", [257, 65_536])
def test_a_bmp_with_a_palette_of_thousands_of_colors_is_refused(number: int) -> None:
    data = bytearray(next(body for body in SEEDS if body.startswith(b"BM") and body[28] == 8))
    data[46:50] = number.to_bytes(4, "little")
    with pytest.raises(InputError, match="its palette has more than 256 colors"):
        pixels.read_picture(bytes(data), GRAY)


def test_a_bmp_of_os2_has_no_number_of_colors() -> None:
    palette = b"".join(bytes([255 - value]) * 3 for value in range(256))
    head = b"BM" + struct.pack("<IHHI IHHHH", 0, 0, 0, 26 + 768, 12, 28, 28, 1, 8)
    assert pixels.read_picture(head + palette + b"\3" * 784, GRAY).max() == 252


def test_a_jpeg_without_end_of_head_is_not_read_again_from_the_start() -> None:
    with pytest.raises(InputError) as caught:
        pixels.read_picture(JPEG[:200], GRAY)
    assert "markers" not in str(caught.value)


def test_a_few_fill_bytes_and_markers_are_read() -> None:
    picture = JPEG[:2] + b"\xff" * 500 + b"\xff\xd0" * 9 + segment(0xFE, b"a") + JPEG[2:]
    assert pixels.read_picture(picture, GRAY).shape == (28, 28)
    assert cost.estimate(picture, GRAY, 784) != Cost(0, 0)
