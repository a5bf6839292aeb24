"""The verdict: what a run left in its changelog, ledger and dead letters, against the answer.

Everything is read as any reader of committed records would, with nothing of the engine but the form
of a changelog's key. Losses and repeats are counted in events, so that a run with a weaker guarantee
can be measured with the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from models.records import decode_dead_letter
from tests.support import chaos_broker
from tests.support.chaos_app import EVENTS, LEDGER, STEP, Line, decode_line
from tests.support.chaos_events import Expected, Place, Sums

SHOWN = 5
"""Faults of one kind that are told in full."""

_pair = msgspec.msgpack.Decoder(tuple[int, int]).decode


@dataclass
class Verdict:
    """What is wrong, in events; ``faults`` says where."""

    events: int = 0
    state_lost: int = 0
    state_doubled: int = 0
    ledger_lost: int = 0
    ledger_doubled: int = 0
    lines: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Events that are missing from the state or were never told."""
        return max(self.state_lost, self.ledger_lost)

    @property
    def doubled(self) -> int:
        """Events that count twice in the state or were told twice."""
        return max(self.state_doubled, self.ledger_doubled)

    def figures(self) -> dict[str, int]:
        """For the results' file."""
        return {
            "events": self.events, "lost": self.lost, "doubled": self.doubled,
            "ledger lines": self.lines, "faults": len(self.faults),
        }  # fmt: skip


def judge(bootstrap: str, name: str, expected: Expected) -> Verdict:
    """Read all there is and compare. ``name`` is the app's id and the prefix of its topics."""
    stored = last_values(chaos_broker.read(bootstrap, f"{name}-{STEP}-changelog"))
    ledger = chaos_broker.read(bootstrap, f"{name}-{LEDGER}")
    letters = chaos_broker.read(bootstrap, f"{name}-dead-letters")
    verdict = Verdict(events=sum(expected.ends))
    compare_sums(verdict, "tally", sums_of(stored, "tally"), expected.tally)
    compare_sums(verdict, "panes", sums_of(stored, "panes"), expected.panes)
    follow_chains(verdict, (decode_line(r.value) for rs in ledger for r in rs), expected.tally)
    compare_letters(verdict, [r for rs in letters for r in rs], expected.dead)
    source = chaos_broker.ends(bootstrap, f"{name}-{EVENTS}")
    if source != expected.ends:
        verdict.faults.append(f"the source ends at {source}, the input at {expected.ends}")
    hints = chaos_broker.committed(bootstrap, name, f"{name}-{EVENTS}")
    if hints != expected.ends:
        verdict.faults.append(f"the group's offsets are {hints}, all done is {expected.ends}")
    return verdict


def last_values(partitions: Iterable[Sequence[ConsumerRecord]]) -> dict[bytes, bytes]:
    """The last value of each key, as the log cleaner would leave it."""
    values: dict[bytes, bytes] = {}
    for records in partitions:
        for record in records:
            if record.value is None:
                values.pop(record.key, None)
            else:
                values[record.key] = record.value
    return values


def sums_of(values: Mapping[bytes, bytes], store: str) -> Sums:
    """One store of a changelog's values."""
    prefix = store.encode() + b"\x00"
    return {
        key.removeprefix(prefix).decode(): _pair(value)
        for key, value in values.items() if key.startswith(prefix)
    }  # fmt: skip


def compare_sums(verdict: Verdict, what: str, found: Sums, expected: Sums) -> None:
    """Count events that are too few or too many per key; sums must agree as well."""
    lost = doubled = 0
    wrong = []
    for key in found.keys() | expected.keys():
        got, want = found.get(key, (0, 0)), expected.get(key, (0, 0))
        if got != want:
            lost += max(0, want[0] - got[0])
            doubled += max(0, got[0] - want[0])
            wrong.append(f"{what} of {key} is {got}, should be {want}")
    verdict.state_lost = max(verdict.state_lost, lost)
    verdict.state_doubled = max(verdict.state_doubled, doubled)
    _tell(verdict, wrong)


def follow_chains(verdict: Verdict, lines: Iterable[Line], expected: Sums) -> None:
    """Each line must begin where the key's last one ended, and the last one end at the answer."""
    reached: Sums = {}
    wrong = []
    for line in lines:
        verdict.lines += 1
        at = reached.get(line.key, (0, 0))
        if line.before != at:
            verdict.ledger_lost += max(0, line.before[0] - at[0])
            verdict.ledger_doubled += max(0, at[0] - line.before[0])
            wrong.append(f"ledger of {line.key} goes on at {line.before}, had reached {at}")
        reached[line.key] = line.after
    for key in reached.keys() | expected.keys():
        got, want = reached.get(key, (0, 0)), expected.get(key, (0, 0))
        if got != want:
            verdict.ledger_lost += max(0, want[0] - got[0])
            verdict.ledger_doubled += max(0, got[0] - want[0])
            wrong.append(f"ledger of {key} ends at {got}, should at {want}")
    _tell(verdict, wrong)


def compare_letters(
    verdict: Verdict, letters: Iterable[ConsumerRecord], expected: set[Place]
) -> None:
    """Each place that should be dead is so, once, and no other."""
    found = [(d := decode_dead_letter(r.value), Place(d.partition, d.offset))[1] for r in letters]
    counts = dict.fromkeys(found, 0)
    for place in found:
        counts[place] += 1
    wrong = [f"no dead letter for {place}" for place in expected - counts.keys()]
    wrong += [f"dead letter for {place}, which is good" for place in counts.keys() - expected]
    repeated = {place: n for place, n in counts.items() if n > 1}
    wrong += [f"{n} dead letters for {place}" for place, n in repeated.items()]
    verdict.ledger_lost += len(expected - counts.keys())
    verdict.ledger_doubled += sum(repeated.values()) - len(repeated)
    _tell(verdict, wrong)


def _tell(verdict: Verdict, wrong: list[str]) -> None:
    verdict.faults += sorted(wrong)[:SHOWN]
    if len(wrong) > SHOWN:
        verdict.faults.append(f"and {len(wrong) - SHOWN} more like the last")
