"""`python -m bdlib.cli` is the console command, where it is not installed."""

from bdlib.cli import main

main(prog_name="bdlib")
