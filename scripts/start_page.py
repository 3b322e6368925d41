"""Run the page *Start here* for the book.

python scripts/start_page.py build/start.ipynb
"""

import json
import sys
from pathlib import Path

from bdlib.experiments.notebooks import execute

ROOT = Path(__file__).parents[1]
SOURCE, PLACE = ROOT / "book" / "start.ipynb", ROOT / "build" / "start.ipynb"


def start_page() -> bytes:
    """The page as it ran; it is run here if Snakemake has not done so. Without the state of its sliders.

    A page that holds such a state would load a program from the network to show them.
    """
    page = json.loads((PLACE if PLACE.is_file() else execute(SOURCE, PLACE, {})).read_bytes())
    page["metadata"].pop("widgets", None)
    return json.dumps(page).encode()


if __name__ == "__main__":
    execute(SOURCE, Path(sys.argv[1]), {})
