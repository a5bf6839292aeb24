"""Rules files as a whole: what is right of them, and all that is wrong."""

import pytest

from alerts.rules import examine, load_rules, parse_rules
from models.errors import ConfigurationError
from tests.alerts.test_rules import HOOK, RULE
from tests.alerts.timeline import SERIES


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"rules": [RULE, RULE]}, "two rules are called 'r'"),
        ({"receivers": [HOOK, HOOK]}, "two receivers are called 'hook'"),
        ({"receivers": [{"name": "h", "kind": "pigeon"}]}, "pigeon"),
        ({"receivers": [HOOK | {"url": "x"}]}, "unknown key 'url'"),
        ({"rule": [RULE]}, "did you mean 'rules'"),
        ({"rules": RULE}, r"rules is written \[\[rules\]\], one table each"),
        ({"rules": ["r"]}, r"rules is written \[\[rules\]\]"),
        ({"receivers": HOOK}, r"receivers is written \[\[receivers\]\]"),
    ],
)
def test_a_file_that_cannot_work_is_refused(raw, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_rules(raw, SERIES)


def test_all_mistakes_of_a_file_are_found_and_the_first_is_raised():
    raw = {
        "rules": [RULE | {"window": "15s"}, RULE, RULE | {"id": "s", "receivers": ["hok"]}, RULE],
        "receivers": [HOOK, {"name": "h", "kind": "pigeon"}],
    }
    found = examine(raw, SERIES)
    assert [r.id for r in found.rules] == ["r", "s", "r"]
    assert [r.name for r in found.receivers] == ["hook"]
    said = [str(error) for error in found.errors]
    wanted = ["'15s' is not kept", "pigeon", "two rules are called 'r'", "names the receiver 'hok'"]
    assert [want in line for want, line in zip(wanted, said, strict=True)] == [True] * 4
    with pytest.raises(ConfigurationError, match="'15s' is not kept"):
        parse_rules(raw, SERIES)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    broken = tmp_path / "rules.toml"
    broken.write_text("[[rules")

    for path in (broken, tmp_path / "none.toml"):
        with pytest.raises(ConfigurationError, match=str(path)):
            load_rules(path, SERIES)
