"""The registration of every command, and what becomes of an error."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Annotated

import typer

from cli import doctor, ml, replay, rules, simulate, tail, up
from cli.pairs import WrongCommandError
from models.errors import BackbeatError

app = typer.Typer(
    name="backbeat",
    help="Anomaly detection over Kafka streams, for music streaming services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.command)
app.command("simulate")(simulate.command)
app.command("replay")(replay.command)
app.command("tail")(tail.command)
app.command("doctor")(doctor.command)
app.add_typer(ml.app)
app.add_typer(rules.app)


@app.command("docs")
def docs(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where something would change.")
    ] = False,
) -> None:
    """Write the generated parts of the documentation anew."""
    from cli.docs import generate

    changed = generate(check=check)
    if check and changed:
        msg = f"docs/ is behind the code: {', '.join(changed)}; write it with: backbeat docs"
        raise BackbeatError(msg)
    print(f"written: {', '.join(changed)}" if changed else "docs/ is up to date")


def main() -> None:
    """Run the command line; a failure we know is one line, with exit code 2 where the command is wrong."""
    # What aiokafka has to say about a broker that is not there, the commands say themselves.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(prog_name="backbeat")
    except BackbeatError as exc:
        print(f"backbeat: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, WrongCommandError) else 1)
    except BrokenPipeError:  # `backbeat tail | head`
        with contextlib.suppress(OSError):
            sys.stdout.close()
        sys.exit(0)
