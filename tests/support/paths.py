"""Files of the repository that tests read."""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SAMPLE: Final = ROOT / "tests" / "samples" / "fashion-mnist-sample"
"""2,000 training and 1,000 test images of Fashion-MNIST."""
BOOT: Final = ROOT / "examples" / "ankle-boot.png"
BIN: Final = Path(sys.executable).parent
