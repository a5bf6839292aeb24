"""A judge on dicts, with the models that are in force for it."""

from agents.judging import DETECTORS, JUDGE_STORES, Models, RuleBook, RuleJudge
from agents.snapshots import DAY
from ml import life, registry
from models.config import WindowSpec
from models.learning import Rollback, Selector, decode_learning, key_of
from models.records import Value, Window, to_json
from tests.support.pipeline import Tally

MINUTE = 60_000
SPEC = WindowSpec(MINUTE, MINUTE, 0, True, 0)
GROUP = "demo|country{country=FR}"
SERIES = "demo|plays{country=FR}"
KEY = f"live/{MINUTE}@{GROUP}"


class Records(dict):
    """What the global store is to its readers."""

    version = 0

    def publish(self, *records):
        for record in records:
            self[key_of(record).decode()] = decode_learning(to_json(record))
            self.version += 1


class Bed:
    """A judge on dicts, fed minute by minute; its state crosses the changelog when asked."""

    def __init__(self):
        self.records, self.tally = Records(), Tally()
        self.models = {}
        self.at = 100 * DAY
        self.outputs = []
        self.state = {spec.name: {} for spec in JUDGE_STORES}
        self.start()

    def start(self):
        self.judge = RuleJudge(RuleBook(()), [MINUTE], models=Models(self.records, self.tally))

    def restart(self):
        """What is not in the changelog is gone."""
        for spec in JUDGE_STORES:
            self.state[spec.name] = {
                k: spec.decode(spec.encode(v)) for k, v in self.state[spec.name].items()
            }
        self.start()

    def run(self, n, value=lambda i: 100.0 + i % 7, measure="plays"):
        for _ in range(n):
            i = self.at // MINUTE
            window = Window(
                "demo", GROUP, "live", self.at, self.at + MINUTE, MINUTE, MINUTE, 5,
                {measure: Value(value=value(i), weight=5.0)},
            )  # fmt: skip
            judged, outputs = self.judge(window, SPEC, self.state)
            self.outputs += outputs
            self.at += MINUTE
        return judged.values[measure]

    def new(self, family="plays", states=(), **over):
        fields = {"selector": Selector("plays"), "spec": {"name": "lite"}, "kind": "detector"}
        model = life.new_version(
            self.models.values(), tenant="demo", family=family, created_by="ann", now=1,
            **fields | over,
        )  # fmt: skip
        states = [life.state_of(model, *each) for each in states]
        self.models[model.id] = life.seal(model, states)
        self.records.publish(*states, self.models[model.id])
        return model.id

    def move(self, model_id, to, now=2):
        self.publish(life.transition(self.models, model_id, to, by="ann", now=now))

    def publish(self, models):
        for model in models:
            self.models[model.id] = model
        self.records.publish(*models)

    @property
    def detector(self):
        return self.state[DETECTORS][KEY]["plays"]

    def told(self, kind):
        return [
            r for o in self.outputs if o.topic == "models"
            if isinstance(r := decode_learning(o.value), kind)
        ]  # fmt: skip


def trained(n=200, value=100.0, name="lite"):
    detector = registry.create(name)
    for i in range(n):
        detector.learn(value + i % 7, i * MINUTE)
    return detector.dump()


def rollback(bed, before, name="r1", selector=None):
    bed.records.publish(
        Rollback("demo", name, selector or Selector("plays"), before, "ann", bed.at, "bad data")
    )
