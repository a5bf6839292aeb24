"""The supervisor with real, tiny processes."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from cli.supervisor import Part, PartFailedError, Supervisor
from tests.support.process import wait_until

WAITS = "import signal, sys; print('here', flush=True); signal.pause()"
STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('here', flush=True)
while True: signal.pause()
"""
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
print(child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
async def supervisor(tmp_path):
    supervisor = Supervisor(tmp_path / "logs", tmp_path, bound=10)
    yield supervisor
    supervisor.hurry()
    await supervisor.stop()


def part(supervisor, name, script, **more):
    """A part that is ready when it has logged something."""
    log = supervisor.log_dir / f"{name}.log"

    async def ready():
        return log.exists() and bool(log.read_text().strip())

    return Part(name, [sys.executable, "-c", script], ready, **more)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that init has not collected yet is gone for our purposes.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_parts_are_ready_when_they_say_so_and_end_in_reverse(supervisor, tmp_path):
    order = tmp_path / "order"
    script = (
        "import signal, sys\n"
        f"def bye(*_):\n    open({str(order)!r}, 'a').write(sys.argv[1]); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "print('here', flush=True)\n"
        "signal.pause()\n"
    )
    for name in ("a", "b", "c"):
        base = part(supervisor, name, script)
        took = await supervisor.start(base._replace(argv=[*base.argv, name]))
        assert took > 0
    pids = supervisor.pids
    assert list(pids) == ["a", "b", "c"]
    assert await supervisor.stop() == []
    assert order.read_text() == "cba"
    assert not any(map(alive, pids.values()))
    assert supervisor.pids == {}


async def test_a_part_gets_its_environment_and_its_output_goes_to_its_log(supervisor):
    script = "import os, signal; print(os.environ['BACKBEAT_X'], flush=True); signal.pause()"
    await supervisor.start(part(supervisor, "echo", script, env={"BACKBEAT_X": "hello"}))
    assert (supervisor.log_dir / "echo.log").read_text() == "hello\n"


async def test_a_part_that_dies_while_starting_is_told_with_its_last_words(supervisor):
    script = "import sys; print('cannot do it', file=sys.stderr); sys.exit(3)"
    never = part(supervisor, "worker", script, hint="Try again.")

    async def not_ready():
        return False

    with pytest.raises(PartFailedError) as failure:
        await supervisor.start(never._replace(ready=not_ready))
    text = str(failure.value)
    assert "worker died before it was ready (exit code 3). Try again." in text
    assert "cannot do it" in text
    assert str(supervisor.log_dir / "worker.log") in text


LOGS = """
import logging, sys
logging.basicConfig(format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", level="INFO")
log = logging.getLogger("backbeat.engine")
print("+a banner+---+\\n| id    | x  |\\n+-------+----+", file=sys.stderr)
log.info("broker is there")
try:
    try:
        open("/no/such/file")
    except OSError as exc:
        raise RuntimeError("no topic") from exc
except RuntimeError as exc:
    log.critical("leaving with code 70: no topic", exc_info=exc)
log.info("a line that came late")
sys.exit(70)
"""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            LOGS,
            [
                "CRITICAL backbeat.engine: leaving with code 70: no topic",
                "INFO    backbeat.engine: broker is there",
                "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'",
                "RuntimeError: no topic",
                "INFO    backbeat.engine: a line that came late",
            ],
        ),
        ("print('hello'); {}['a']", ["KeyError: 'a'", "hello"]),
        (
            "import sys; print('backbeat: x.toml: no', file=sys.stderr); print('bye'); sys.exit(1)",
            ["backbeat: x.toml: no", "bye"],
        ),
    ],
)
async def test_last_words_begin_with_the_reason_and_hold_no_traceback(supervisor, script, words):
    dying = part(supervisor, "worker", script)

    async def not_ready():
        return False

    with pytest.raises(PartFailedError) as failure:
        await supervisor.start(dying._replace(ready=not_ready))
    _, _, *lines = str(failure.value).splitlines()
    assert [re.sub(r"^ +(\d\S+ \S+ )?", "", line) for line in lines] == words


async def test_a_part_that_dies_later_ends_the_watch(supervisor):
    await supervisor.start(part(supervisor, "good", WAITS))
    await supervisor.start(part(supervisor, "bad", WAITS))
    watch = asyncio.create_task(supervisor.watch())
    os.kill(supervisor.pids["bad"], signal.SIGKILL)
    with pytest.raises(PartFailedError, match=r"bad died \(signal SIGKILL\)"):
        await asyncio.wait_for(watch, 10)
    assert alive(supervisor.pids["good"])


async def test_a_part_that_is_never_ready_is_given_up(supervisor):
    async def not_ready():
        return False

    slow = part(supervisor, "slow", WAITS, patience=0.2)._replace(ready=not_ready)
    with pytest.raises(PartFailedError, match=r"slow was not ready after 0\.2 s"):
        await supervisor.start(slow)


async def test_a_program_that_is_not_there_is_told_with_the_hint(supervisor):
    async def ready():
        return True

    missing = Part("broker", ["/no/such/program"], ready, hint="make setup")
    with pytest.raises(PartFailedError, match=r"broker cannot be run: .*No such file.* make setup"):
        await supervisor.start(missing)
    assert supervisor.pids == {}


async def test_what_ignores_sigterm_is_killed_after_the_bound(tmp_path):
    supervisor = Supervisor(tmp_path, tmp_path, bound=0.3)
    await supervisor.start(part(supervisor, "stubborn", STUBBORN))
    pid = supervisor.pids["stubborn"]
    assert await supervisor.stop() == ["stubborn"]
    assert not alive(pid)


async def test_in_a_hurry_nothing_is_waited_for(supervisor):
    await supervisor.start(part(supervisor, "stubborn", STUBBORN))
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    supervisor.hurry()
    assert await asyncio.wait_for(stopping, 5) == ["stubborn"]


async def test_children_of_a_part_end_with_it(supervisor):
    await supervisor.start(part(supervisor, "parent", PARENT))
    child = int((supervisor.log_dir / "parent.log").read_text())
    assert alive(child)
    await supervisor.stop()
    wait_until(lambda: not alive(child), 10, "the child did not end")
