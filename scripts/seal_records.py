"""Put a checksum into the 678 quick records. Run once, on the files of commit fd56d70; nothing else in them changes.

git checkout fd56d70 -- results/quick && python scripts/seal_records.py
"""

import json

from bdlib.experiments.record_file import write_content
from bdlib.files import write_whole
from bdlib.folders import RESULTS


def main() -> None:
    for path in sorted(RESULTS.glob("*/*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "checksum" not in content["runtime"]:
            write_whole(path, write_content(content).encode())


if __name__ == "__main__":
    main()
