"""Known answers from elsewhere; README.md says where each file comes from."""

import json
from pathlib import Path
from typing import Any


def load(name: str) -> Any:
    """The content of ``tests/vectors/<name>.json``."""
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())
