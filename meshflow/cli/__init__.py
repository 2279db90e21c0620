"""The command line: `meshflow`. The only user of click; it prints, and nothing more.

stdout carries data only; progress, hints and warnings go to stderr. `app.py` has the table of commands; the file of a
command is imported when that command is called, so that `meshflow --help` is quick.
"""


def main() -> None:
    """Run the command line of this process."""
    from .app import cli

    cli(prog_name="meshflow")
