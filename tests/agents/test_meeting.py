"""Metrics of one thing judged together: what meets, what is left out, and the same in any order."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.attributing import AttributionConfig
from agents.judging import RuleBook
from agents.meeting import (
    ENTITIES,
    FORGOTTEN,
    JOINT_STORES,
    MOST_OPEN,
    UNWATCHED,
    Entity,
    MeetingConfig,
)
from alerts.rules import parse_rule
from ml.joint import JointDetector
from models.config import JointSpec, parse_series_config
from models.errors import StateError
from models.evidence import Reading, Sampled
from models.records import Watermark, decode_finding, decode_window
from tables import sketches
from tables.watermarks import END_OF_TIME
from tests.support import small
from tests.support.evidence_step import EvidenceStep

MINUTE, T0 = 60_000, 1_767_225_600_000
METRICS = ("cpu", "memory", "requests")
JOINT = JointSpec("health", METRICS, MINUTE, None, MINUTE)
RULE = {"id": "apart", "when": "joint(health) >= 4", "severity": "page"}
SERIES = parse_series_config(
    small.SERIES | {"joint": [{"name": "health", "metrics": METRICS, "window": "1m"}]}
)
PARTITIONS = 3


class Step(EvidenceStep):
    """The step with a joint, and what it made."""

    def __init__(self, joint: JointSpec = JOINT, limit: int = 100, rules=(RULE,)) -> None:
        super().__init__()
        self.windows, self.findings = [], []
        self.configure(joint, limit, rules)

    def configure(self, joint: JointSpec = JOINT, limit: int = 100, rules=(RULE,)) -> None:
        book = RuleBook([parse_rule(rule, SERIES) for rule in rules])
        meeting = MeetingConfig((joint,), PARTITIONS, limit, book, self)
        self.config = AttributionConfig(PARTITIONS, self, meeting)

    def take(self, *told, now: int = T0):
        """Fold what is told; the windows that it brought."""
        outputs = self.fold(told, now)
        made = [decode_window(o.value) for o in outputs if o.topic == "windows"]
        self.windows += made
        self.findings += [decode_finding(o.value) for o in outputs if o.topic == "findings"]
        return made

    @property
    def waiting(self) -> int:
        return sum(map(len, self.state["joint-windows"].values()))


def sampled(minute: int, host="a", partition=0, stream="live", **values: float) -> Sampled:
    """Readings of the window that starts at ``minute``."""
    group = f"acme|metric:joint:health{{host={host}}}"
    made = tuple(
        Reading(group, metric, T0 + (minute + 1) * MINUTE, sketches.moments([value]))
        for metric, value in values.items()
    )
    return Sampled("acme", stream, partition, made)


def wide(number: int, minutes: int, **values: float) -> Sampled:
    """Readings of the window of so many minutes that is the ``number``-th, from 0."""
    end = T0 + (number + 1) * minutes * MINUTE
    made = sampled(0, **values).readings
    return Sampled(
        "acme", "live", 0, tuple(Reading(r.group, r.metric, end, r.moments) for r in made)
    )


def mark(minute: float, *partitions: int, stream="live", **how: bool) -> list[Watermark]:
    """All up to the end of a minute has been told, by these partitions or by all."""
    at = END_OF_TIME if how.get("ended") else T0 + int(minute * MINUTE)
    return [
        Watermark("acme", stream, "metrics", n, at, **how) for n in partitions or range(PARTITIONS)
    ]


def usual(minute: int, draw: random.Random) -> dict[str, float]:
    load = draw.gauss(100, 30)
    return {"cpu": load * 0.4 + draw.gauss(0, 1), "memory": load * 0.2 + draw.gauss(0, 1),
            "requests": load * 20 + draw.gauss(0, 30)}  # fmt: skip


def taught(step: Step, minutes: int = 150, host: str = "a") -> None:
    """Ordinary minutes from the first on, all of them judged."""
    draw = random.Random(7)
    for minute in range(minutes):
        step.take(sampled(minute, host, **usual(minute, draw)), *mark(minute + 1))
    step.take(*mark(minutes + 1))
    step.windows.clear()


def test_a_break_of_how_they_go_together_is_an_alert_with_shares_and_words():
    step = Step()
    taught(step)
    assert not step.findings
    (window,) = step.take(sampled(150, cpu=40, memory=20, requests=800), *mark(152))
    (found,) = step.findings
    value = window.values["value"]
    assert (found.kind, found.state, found.measure) == ("joint", "firing", "health")
    assert (found.series, found.tags) == ("acme|joint:health{host=a}", {"host": "a"})
    assert found.score == found.value == value.value == value.score
    assert found.score > 4
    assert next(iter(found.contributions)) == "requests"
    assert sum(found.contributions.values()) == pytest.approx(1, abs=0.02)
    share = round(100 * found.contributions["requests"])
    assert found.reason == (
        f"cpu, memory and requests of a do not go together as they did: a joint surprise of "
        f"{found.score:.1f} deviations, mostly requests ({share} %), for 1 min"
    )


def test_what_is_missing_is_named_and_the_rest_is_judged():
    step = Step()
    taught(step)
    (window,) = step.take(sampled(150, cpu=40, requests=800), *mark(152))
    assert window.values["value"].weight == 2
    (found,) = step.findings
    assert found.reason.endswith("; without memory")
    assert "memory" not in found.contributions


def test_a_rule_can_want_all_of_them():
    step = Step(rules=[RULE | {"min_weight": 3}])
    taught(step)
    step.take(sampled(150, cpu=40, requests=800), *mark(152))
    assert not step.findings


def test_rules_choose_things_by_their_tags():
    step = Step(rules=[RULE | {"match": {"host": "b*"}}])
    taught(step)
    step.take(sampled(150, cpu=40, memory=20, requests=800), *mark(152))
    assert not step.findings


def test_a_window_waits_for_every_partition_and_for_its_wait():
    step = Step()
    told = sampled(0, cpu=1, memory=2)
    assert step.take(told, *mark(2, 0, 1)) == []
    assert step.take(*mark(1.5, 2)) == []
    (window,) = step.take(*mark(2, 2))
    assert (window.start, window.end, window.count) == (T0, T0 + MINUTE, 2)
    assert window.values["value"].learning
    assert step.waiting == 0


def test_an_idle_partition_is_not_waited_for():
    step = Step()
    step.take(sampled(0, cpu=1, memory=2), *mark(2, 0))
    (window,) = step.take(*mark(0, 1, idle=True), Watermark("", "", "metrics", 2, 0, idle=True))
    assert window.end == T0 + MINUTE


def test_what_comes_after_its_partition_was_past_it_is_left_out_and_counted():
    step = Step()
    step.take(sampled(0, cpu=1), *mark(2, 1), sampled(0, memory=2, partition=1))
    assert step.counted == {"joint late": 1}
    (window,) = step.take(*mark(2))
    assert window.count == 1
    assert step.take(sampled(0, memory=2), *mark(9)) == []
    assert step.counted == {"joint late": 2}


def test_samples_of_one_window_merge_exactly():
    step = Step()
    parts = [sampled(0, cpu=v, partition=p) for v, p in ((1e16, 0), (1.0, 1), (-1e16, 2))]
    step.take(*parts, sampled(0, memory=4))
    ((entry,),) = (windows.values() for windows in step.state["joint-windows"].values())
    assert sketches.mean(entry["cpu"]) == 1 / 3


def test_windows_that_wait_are_bounded_a_thing():
    step = Step()
    step.take(*(sampled(minute, cpu=1, memory=2) for minute in range(MOST_OPEN + 5)))
    assert step.waiting == MOST_OPEN
    assert step.counted == {"joint crowded": 10}


def test_things_are_bounded_a_tenant_by_who_was_there_first_in_event_time():
    for hosts in (("a", "b", "c"), ("c", "b", "a")):
        step = Step(limit=2)
        for host in hosts:
            step.take(sampled(0 if host < "c" else 1, host, cpu=1, memory=2))
        step.take(*mark(3))
        groups = {window.group for window in step.windows}
        assert groups == {f"acme|metric:joint:health{{host={host}}}" for host in "ab"}
        assert step.counted == {"joint over_limit": 2}


def test_joints_that_wait_differently_do_not_take_each_others_room():
    """The slower one's windows are judged between the other's or after, as batches have it."""
    slow = replace_joint(name="slow", wait=5 * MINUTE)
    step = Step(limit=1)
    meeting = replace(step.config.meeting, joints=(JOINT, slow))
    step.config = replace(step.config, meeting=meeting)
    for minute, host in ((0, "a"), (1, "b")):
        told = sampled(minute, host, cpu=1, memory=2)
        other = [Reading(r.group.replace("health", "slow"), r.metric, r.end, r.moments)
                 for r in told.readings]  # fmt: skip
        step.take(told, Sampled("acme", "live", 0, tuple(other)))
    step.take(*mark(3))
    step.take(*mark(9))
    assert [(w.group, w.start) for w in step.windows] == [
        ("acme|metric:joint:health{host=a}", T0), ("acme|metric:joint:slow{host=a}", T0),
    ]  # fmt: skip
    assert step.counted == {"joint over_limit": 4}


def test_what_was_silent_for_a_week_begins_anew_and_makes_room():
    step = Step(limit=1)
    taught(step, 110)
    later = 110 + FORGOTTEN // MINUTE + 60
    (window,) = step.take(sampled(later, "b", cpu=1, memory=2), *mark(later + 2))
    assert (window.group, window.values["value"].learning) == (
        "acme|metric:joint:health{host=b}", True,
    )  # fmt: skip
    assert step.counted == {"joint silent": 1}
    (window,) = step.take(sampled(later + 1, "b", cpu=1, memory=2), *mark(later + 3))
    assert step.counted == {"joint silent": 1}


def test_an_alert_on_what_has_been_silent_for_a_day_ends():
    step = Step()
    taught(step)
    step.take(sampled(150, cpu=40, memory=20, requests=800), *mark(152))
    assert [found.state for found in step.findings] == ["firing"]

    day = UNWATCHED // MINUTE
    step.take(*mark(150 + day))
    assert [found.state for found in step.findings] == ["firing"]
    step.take(*mark(151 + day + 61))  # looked for once an hour
    (_, ended) = step.findings
    assert (ended.state, ended.at) == ("resolved", T0 + (151 + day) * MINUTE)
    assert ended.reason.endswith("no data for 1 d, so it is not watched until data comes again")

    step.take(sampled(250 + day, cpu=40, memory=20, requests=800), *mark(300 + day))
    assert step.findings[-1].state == "firing"
    assert step.findings[-1].incident != ended.incident


def test_what_has_windows_of_days_is_not_silent_between_them():
    days = 2 * 1440
    joint = replace_joint(window=days * MINUTE, wait=0)
    step, draw = Step(joint), random.Random(7)
    for n in range(150):
        step.take(wide(n, days, **usual(n, draw)), *mark((n + 1) * days))
    for n in range(150, 153):
        step.take(wide(n, days, cpu=40, memory=20, requests=800 + n))
        for hour in range(days // 60):
            step.take(*mark(n * days + (hour + 1) * 60))
    assert [found.state for found in step.findings] == ["firing"]


def test_it_ends_at_the_same_time_if_the_clock_leaps():
    """What an hourly look would have found is found at the next window."""
    step, day = Step(), UNWATCHED // MINUTE
    taught(step)
    step.take(sampled(150, cpu=40, memory=20, requests=800), *mark(152))
    step.take(sampled(500 + day, cpu=40, memory=20, requests=100), *mark(900 + day))
    assert [(found.state, found.at) for found in step.findings][1] == (
        "resolved", T0 + (151 + day) * MINUTE,
    )  # fmt: skip


def test_an_alert_of_a_stream_that_ends_ends_with_it():
    step = Step()
    draw = random.Random(7)
    for minute in range(150):
        step.take(
            sampled(minute, stream="replay", **usual(minute, draw)), *mark(minute, stream="replay")
        )
    step.take(sampled(150, stream="replay", cpu=40, memory=20, requests=800))
    step.take(*mark(0, stream="replay", ended=True))
    assert [found.state for found in step.findings] == ["firing", "resolved"]
    assert step.findings[-1].reason.endswith("the stream has ended")


def test_a_stream_that_ends_is_judged_to_its_last_window_and_forgotten():
    step = Step()
    step.take(sampled(0, cpu=1, memory=2, stream="replay"), *mark(1, 0, stream="replay"))
    (window,) = step.take(*mark(0, stream="replay", ended=True))
    assert window.stream == "replay"
    assert not any(step.state[spec.name] for spec in JOINT_STORES)


def test_other_metrics_in_the_configuration_begin_anew():
    step = Step()
    taught(step)
    step.configure(replace_joint(metrics=("cpu", "memory", "disk")))
    (window,) = step.take(sampled(150, cpu=1, memory=2), *mark(152))
    assert window.values["value"].learning
    assert step.counted == {"joint reconfigured": 1}


def test_a_table_that_is_gone_leaves_its_samples_out():
    step = Step()
    step.take(sampled(0, cpu=1, memory=2))
    step.configure(replace_joint(name="other"), rules=())
    assert step.take(sampled(1, cpu=1), *mark(9)) == []
    assert step.counted == {"joint reconfigured": 1 + 2}
    assert step.waiting == 0


def replace_joint(**changed) -> JointSpec:
    return msgspec.structs.replace(JOINT, **changed)


def test_state_of_another_version_is_refused_and_a_foreign_detector_begins_anew(caplog):
    detector = JointDetector(METRICS)
    saved = msgspec.msgpack.decode(Entity(detector, {}, T0).encode())
    for damaged in ([9, *saved[1:]], saved[:1], "x"):
        with pytest.raises(StateError, match="joint state"):
            Entity.decode(msgspec.msgpack.encode(damaged))
    foreign = msgspec.msgpack.decode(saved[2])
    saved[2] = msgspec.msgpack.encode(["joint/9", *foreign[1:]])
    assert Entity.decode(msgspec.msgpack.encode(saved)).detector is None
    assert "begins anew" in caplog.text


def test_nothing_is_kept_of_a_meeting_without_tables():
    step = Step()
    step.config = replace(step.config, meeting=None)
    assert step.take(sampled(0, cpu=1), *mark(5)) == []
    assert not any(step.state.values())


HOSTS = ("a", "b")
readings = st.tuples(
    st.integers(0, 11), st.sampled_from(HOSTS), st.sampled_from(METRICS), st.integers(-9, 9)
)
"""(minute, host, metric, value) of one sample."""
logs = st.lists(
    st.lists(readings | st.integers(0, 14), max_size=25), min_size=PARTITIONS, max_size=PARTITIONS
)
"""What each partition tells, in its order: samples, and how far it has come."""


@given(told=logs, seed=st.integers(0, 2**32))
def test_the_order_across_partitions_and_the_cuts_change_nothing(told, seed):
    def go_through(rng: random.Random | None) -> Step:
        step = Step(limit=1)
        logs = [[_told(p, item) for item in log] + [mark(20, p)[0]] for p, log in enumerate(told)]
        step.take_all(logs, rng)
        return step

    one, other = go_through(None), go_through(random.Random(seed))
    assert one.windows == other.windows
    assert one.findings == other.findings
    assert one.counted == other.counted
    encoded = [
        {k: ENTITIES.encode(v) for k, v in s.state[ENTITIES.name].items()} for s in (one, other)
    ]
    assert encoded[0] == encoded[1]


def _told(partition: int, item) -> Sampled | Watermark:
    if isinstance(item, int):
        return mark(item, partition)[0]
    minute, host, metric, value = item
    return sampled(minute, host, partition, **{metric: float(value)})
