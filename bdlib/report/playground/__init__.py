"""What the playgrounds on the book's pages compute with: networks as folded weights, images, masks, recorded courses.

`python -m bdlib.report.playground build/playground` writes the files; `bdlib.report.widget` shows the same playgrounds
in a notebook. The scripts that run them in a page are in book/_static/playground.
"""

from bdlib.experiments.config import VictimConfig

NAMES = ("images", "victim", "repaired", "twin", "masks")  # of the scripts
VICTIM, TWIN = VictimConfig(), VictimConfig(attack="none")  # BadNets and its clean twin, seed 0
