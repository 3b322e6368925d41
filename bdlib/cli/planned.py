"""The commands about the planned runs: make their records, count them, judge the claims by them."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from bdlib.cli.options import SCALES, known_paper, profile_option


@click.command()
@click.argument("paths", nargs=-1, metavar="[RECORD]...", type=click.Path(path_type=Path))
@click.option("--paper", "papers", multiple=True, callback=known_paper, help="Only this, or `board`; may be repeated.")
@profile_option
@click.option("--list", "only_list", is_flag=True, help="Print the missing records and make none.")
def records(paths: tuple[Path, ...], papers: tuple[str, ...], profile: str, only_list: bool) -> None:
    """Make the records that are missing, in this process, one after the other.

    A record is the JSON file of one run; tables and figures over several seeds are read from records. The studies in
    notebooks/params/<profile>/<paper>.records.yaml plan which there should be. Beside them, board.records.yaml plans
    the runs of the board: every defense on more attacks and poison rates, in order of interest. RECORD is a path that
    --list prints; without one, all missing records are made: hours for the chapters' at the quick profile and a day
    with the board's, much longer at the paper profile on one GPU. Stop it whenever you like and call it again: what is
    finished stays.

    A run that fails is named and does not stop the others; the exit status is then 1. `make records` does the same
    by Snakemake, several processes side by side, and in slices.

    \b
    Examples:
        bdlib records --paper nad --list
        bdlib records --paper nad
        bdlib records --paper board --profile cifar
    """
    from bdlib.experiments import manifest
    from bdlib.experiments.board_plan import BOARD
    from bdlib.folders import RESULTS, check_can_write

    asked = {path.resolve() for path in paths}
    of_paths = [*sorted({path.parent.name for path in asked}), BOARD] if asked else []
    runs = manifest.planned_runs(profile, list(papers) or of_paths)
    if unknown := asked - {run.path.resolve() for run in runs}:
        raise click.UsageError(f"{unknown.pop().name}: no study plans this record at profile {profile}")
    runs = [run for run in runs if not asked or run.path.resolve() in asked]
    runs = [run for group in manifest.missing_groups(runs) for run in group]
    if only_list:
        for run in runs:
            click.echo(os.path.relpath(run.path))
        return
    check_can_write(RESULTS, "BDLIB_RESULTS")
    report_failures(map(manifest.make, runs))


@click.command()
@profile_option
def manifest(profile: str) -> None:
    """Count the planned runs, and write results/<profile>/manifest.csv and metrics.csv, and results/board.csv.

    The manifest has a row for every planned run, with its record, its victim, and whether it is here or missing; the
    metrics have a row for every record. The board has a row for every setting of every profile, over its seeds. Takes
    seconds and trains nothing. Runs that failed are named with the last line of their error; the exit status is then 1.
    """
    from bdlib.experiments import manifest
    from bdlib.folders import RESULTS, check_can_write
    from bdlib.report import board

    check_can_write(RESULTS, "BDLIB_RESULTS")
    runs = manifest.planned_runs(profile)
    click.echo(manifest.write_tables(profile, runs))
    board.write_board(manifest.RESULTS)
    report_failures(map(manifest.failure_line, runs))


@click.command()
@click.option("--scale", "scales", type=SCALES, multiple=True, help="Default: all.")
@click.option("--accept", is_flag=True, help="Accept today's verdicts: write results/<scale>/verdicts.csv.")
def verify(scales: tuple[Any, ...], accept: bool) -> None:
    """Judge every claim of book/claims.yaml by the records, and print the verdicts.

    Takes half a minute and trains nothing. The last line of a scale counts its verdicts. The exit status is 1 if a
    verdict is worse than the accepted one; an honest "not reproduced" that was accepted is none.

    \b
    Examples:
        bdlib verify --scale quick
        bdlib verify --accept
    """
    from bdlib import claims
    from bdlib.folders import RESULTS, check_can_write

    if accept:
        check_can_write(RESULTS, "BDLIB_RESULTS")
    worse = claims.verify(scales or claims.SCALES, accept=accept)
    if worse:
        click.echo("\n".join([f"{len(worse)} verdicts are worse than the accepted ones:", *worse]), err=True)
    sys.exit(bool(worse))


def report_failures(lines: Iterable[str | None]) -> None:
    """Print what is not None of the lines of `manifest.failure_line`, and end with status 1 if a run has failed."""
    failed = False
    for line in filter(None, lines):
        click.echo(line, err=True)
        failed |= line.startswith("FAILED")
    sys.exit(failed)
