"""Run a command for some minutes at most. When they are over it is stopped as Ctrl-C would, which counts as success.

python scripts/slice.py 10 snakemake --profile profiles/local records
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys

GRACE = 30  # seconds until what has not stopped is killed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not 0 <= options.minutes <= 100_000:
        parser.error(f"minutes: {options.minutes:g} must be from 0 to 100000")
    if not options.command or not shutil.which(options.command[0]):
        parser.error(f"command: {' '.join(options.command) or 'none'}: must be a program and its arguments")
    for number in (signal.SIGINT, signal.SIGTERM):  # also where the shell has turned Ctrl-C off, as it does after `&`
        signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(options.command, process_group=0)
    try:
        return process.wait(60 * options.minutes)
    except subprocess.TimeoutExpired:
        print("The time is over: what was running is lost, what had finished is kept.", flush=True)
        status = 0
    except KeyboardInterrupt:
        status = 130
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(main())
