"""``backbeat up`` with tiny processes for its parts: a program, run by test_up.

Arguments: the data folder, the part that shall die at its start (or ``none``), then those of ``up``.
"""

import sys
from pathlib import Path

from cli import parts, up
from cli.supervisor import Part

PROGRAM = """
import os, signal, sys
name, dying = sys.argv[1:]
if name == dying:
    sys.exit('no ' + name + ' today')
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(os.environ['TINY'] + '/' + name + '.ready', 'w').close()
signal.pause()
"""


def main() -> None:
    folder, dying = Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)

    def tiny(name: str) -> Part:
        ready_file = folder / f"{name}.ready"

        async def ready() -> bool:
            return ready_file.exists()

        argv = [sys.executable, "-c", PROGRAM, name, dying]
        return Part(name, argv, ready, {"TINY": str(folder)})

    up.DEMO_DIR = folder / "demo"
    parts.broker = lambda stack: tiny("broker")
    parts.valkey = lambda stack: tiny("valkey")
    parts.worker = lambda stack: tiny("worker")
    parts.stores = lambda stack: tiny("stores")
    parts.api = lambda stack: tiny("api")
    parts.simulator = lambda stack, *_: tiny("simulator")
    sys.argv = ["backbeat", "up", *sys.argv[3:]]
    from cli.main import main as backbeat

    backbeat()


main()
