"""The command that writes what a reviewer attaches."""

from pathlib import Path

import click

from bdlib.cli.options import paper_argument


@click.command()
@paper_argument
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder; default: this one.")
def report(paper: str, out: Path) -> None:
    """Write PAPER-report.html and .pdf: claims, verdicts, main runs, parameters, machines, records.

    Everything comes from the records that are here; it takes seconds and trains nothing. Both files stand alone, so
    that they can be attached to a review.

    \b
    Example:
        bdlib report nad --out reports
    """
    from bdlib.folders import check_can_write
    from bdlib.report.review import review, title
    from bdlib.report.review_files import write_review

    check_can_write(out, "--out")
    for path in write_review(title(paper), review(paper), out, f"{paper}-report"):
        click.echo(path)
