"""Sets up a notebook that runs in Colab: fetches the library with its data and records, and makes it importable.

The first cell of every notebook runs this file, in Colab only.
"""

import subprocess
import sys

FOLDER = "/content/bdlib"

subprocess.run(["git", "clone", "-q", "--depth", "1", "https://github.com/backdoor-book/bdlib", FOLDER], check=True)
subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", FOLDER], check=True)
sys.path.insert(0, FOLDER)
