"""The console command `bdlib`: one run, a notebook, all missing records, the verdicts.

Imports of PyTorch are inside the commands, so that `bdlib --help` answers at once.
"""

import errno
import signal
import warnings
from typing import Any

import click

from bdlib.cli.names import list_names, show
from bdlib.cli.planned import manifest, records, verify
from bdlib.cli.review import report
from bdlib.cli.runs import notebook, run, victims, zoo
from bdlib.cli.strangers import evaluate, new

ONE_LINE = (
    "ParameterError",
    "ClaimError",
    "DataError",
    "FileError",
    "SubmissionError",
)  # errors that tell all in one line, by the names of their types


class Commands(click.Group):
    """Commands whose expected errors are one line on stderr: exit status 2, and 1 where a run has failed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            line, status = f"Error: {error.format_message()}", error.exit_code
        except Exception as error:
            line, status = f"{type(error).__name__}: {error}", 2
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if "NotebookError" in kinds:
                status = 1
            elif not (kinds & {*ONE_LINE} or (isinstance(error, OSError) and error.errno != errno.EPIPE)):
                raise
        click.echo(" ".join(line.split()), err=True)
        ctx.exit(status)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Backdoor attacks and defenses, run from the command line.

    `bdlib list` names the papers and `bdlib show nad` the parameters of one. Everything trained is kept in
    a cache ($BDLIB_CACHE; build/cache in a checkout), so that the second run on the same victim is faster.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop a run cleanly, also where a shell has turned SIGINT off
        signal.signal(number, signal.default_int_handler)
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"  # one line, no source


for command in (run, evaluate, new, notebook, victims, zoo, records, manifest, verify, report, show, list_names):
    main.add_command(command)
