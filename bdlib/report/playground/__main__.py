"""Write the data of the playgrounds: `python -m bdlib.report.playground build/playground`."""

import sys
from pathlib import Path

from bdlib.report.playground.export import write_data

if len(sys.argv) != 2:
    sys.exit("usage: python -m bdlib.report.playground FOLDER")
for path in write_data(Path(sys.argv[1])):
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
