"""``gridflow sql``: a shell, or SQL from the command line, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import (
    INTERRUPTED,
    PRINTED_FORMATS,
    Home,
    common_options,
    console,
    create_option,
    embedded_option,
    kept_if_used,
    open_or_read,
    read_only_option,
)

if TYPE_CHECKING:
    from .shell.session import Session

#: The names of ``shell.rendering.FORMATS``; ``--help`` must not import that.
FORMATS = (*PRINTED_FORMATS, "arrow")
#: Suffix of a file -> the format that it tells; those that are not among ``FORMATS`` are for ``gridflow export``.
_STYLES = {
    **{f".{style}": style for style in ("csv", "tsv", "json", "arrow", "parquet", "npz", "tfrecord")},
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonlines"),
    **dict.fromkeys((".feather", ".ipc"), "arrow"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    ".pq": "parquet",
    ".arrows": "a stream of Arrow",
    **dict.fromkeys((".tfrecords", ".tfrec"), "tfrecord"),
    **dict.fromkeys((".gz", ".zst", ".bz2"), "compressed files"),
}


@click.command("sql")
@common_options
@embedded_option
@create_option
@read_only_option
@click.option("-e", "--execute", "texts", metavar="TEXT", multiple=True, help="Run this and leave. May be given again.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Run a file and leave; - is standard input. May be given again. What -e says is run before.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    help="How to print rows.  [default: what the name of --output tells, else table]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write rows to this file. The format arrow needs one, and takes the rows of one query.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "continue"]),
    default="stop",
    show_default=True,
    help="What to do after a statement that failed.",
)
@click.option("--timing", is_flag=True, help="Say on standard error how long each query took.")
@click.pass_context
def command(
    ctx: click.Context,
    home: Home,
    embedded: bool,
    create: bool,
    read_only: bool,
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    style: str | None,
    output: Path | None,
    on_error: str,
    timing: bool,
) -> None:
    """Run SQL on a grid: at its server if one runs, else as its owner.

    Without -e and -f it is a shell; with its standard input piped it runs that. Statements end with ; and the
    shell's commands (!help lists them) stand on lines of their own.

    \b
    The formats table, vertical and markdown are for people, and may cut values. The others have all rows, and all
    of each value, written the same way in every release:
      json       one document for each query: a list of objects   [{"ID": 1, "NAME": "WARM"}]
      jsonlines  an object a line
      csv, tsv   with a head; a NULL is empty in csv, \\N in tsv
      arrow      a file, with the columns' own types
    In json: integers are numbers with all their digits, beyond 2^53, too; DECIMAL is text ("1.50"), as are dates
    and times (ISO 8601), UUIDs, and bytes (base64); tensors are nested lists, a MAP is a list of [key, value];
    NaN and the infinities are "NaN", "Infinity", "-Infinity". csv and tsv hold lists and objects as JSON.

    \b
    The exit code is 0 if all went well, 1 if a statement failed (--on-error: the first of them ends it), 2 if the
    command line is wrong, 130 after Ctrl-C.
    """
    style = style or _style_of(output)
    piped = not sys.stdin.isatty()
    interactive = not (texts or files or piped)
    if style == "arrow" and output is None:
        raise click.UsageError("--format arrow writes a file: say which with --output FILE")

    if read_only and (embedded or create):
        raise click.UsageError(f"--read-only and {'--embedded' if embedded else '--create'} cannot be had together")

    from .shell.session import Session

    with kept_if_used(home):
        grid, why = open_or_read(home, embedded=embedded, create=create, read_only=read_only)
        out, err = console(), console(stderr=True)
        debug = bool(ctx.find_root().meta.get("gridflow.debug"))
        session = Session(grid, out, err, style=style, interactive=interactive, debug=debug, read_only=read_only)
        try:
            session.settings.onerror = on_error
            session.settings.timing = timing or interactive
            if style == "arrow":
                session.to_arrow_file(output)
            elif output is not None:
                session.output.redirect(output)
            if interactive:
                from .shell import repl

                if why:
                    session.output.warn(f"read only: {why}")
                repl.run_shell(session)
                return
            code = _run_all(session, texts, files)
            if code and why:
                session.output.warn(f"read only: {why}")
        finally:
            session.close()
        if code:
            ctx.exit(code)


def _style_of(output: Path | None) -> str:
    """The format that a file's name tells; ``table`` where it tells none.

    Raises:
        UsageError: the name is that of a format which is not for this command.
    """
    if output is None:
        return "table"
    style = _STYLES.get(output.suffix.lower(), "table")
    if style in PRINTED_FORMATS or style == "arrow":
        return style
    raise click.UsageError(f"--output {output}: sql does not write {style}, but 'gridflow export QUERY {output}' does")


def _run_all(session: Session, texts: tuple[str, ...], files: tuple[Path, ...]) -> int:
    """Run the texts, then the files. Returns the exit code."""
    from .shell.scripts import decode_script
    from .shell.session import Leave, ScriptFailed

    try:
        for text in texts:
            if not session.run(text) and session.settings.onerror == "stop":
                return 1
        for file in files or (() if texts else (Path("-"),)):
            try:
                if str(file) == "-":
                    session.run(decode_script(sys.stdin.buffer.read(), "standard input"), "standard input")
                else:
                    session.run_file(file)
            except ScriptFailed:
                pass
            if session.failed and session.settings.onerror == "stop":
                return 1
    except Leave:
        pass
    except KeyboardInterrupt:
        session.report_cancellation()
        return INTERRUPTED
    return 1 if session.failed else 0
