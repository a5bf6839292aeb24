"""compose.yaml: strictly parsed, safe by default, and true to the settings and the broker it names.

No container engine is at hand, so the services themselves are not started; the broker's settings
are, on a real Kafka of the same version, with only host names and ports exchanged.
"""

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from models.settings import Settings
from tests.support.kafka import VERSION, KafkaServer
from tests.support.process import HOST, free_port

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
TEXT = COMPOSE.read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
OURS = ["worker", "api"]
SECRET = re.compile(r"\$\{(\w*(?:PASSWORD|TOKENS?)):\?[^}]+\}")


def test_it_follows_the_compose_specification():
    merged = yaml.safe_dump(yaml.safe_load(TEXT))  # the parser wants YAML's merge keys resolved
    services = set(PyCompose.from_yaml(merged).service_names())
    assert services == {"kafka", "valkey", "influxdb", "worker", "api"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_watched_and_restarted(name):
    service = SERVICES[name]
    assert name in OURS or re.search(r":\d", service["image"]), "an image has a version"
    assert name == "worker" or "healthcheck" in service  # the worker's is the image's own
    assert service["restart"] == "unless-stopped"
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name):
    assert all(port.startswith(f"{HOST}:") for port in SERVICES[name].get("ports", []))


def test_no_secret_has_a_default():
    used = re.findall(r"\$\{\w*(?:PASSWORD|TOKEN|SECRET|KEY)[^}]*\}", TEXT)
    assert used
    assert [secret for secret in used if not SECRET.fullmatch(secret)] == []


@pytest.mark.parametrize("name", OURS)
def test_our_services_get_settings_that_exist_and_are_valid(name, monkeypatch):
    for variable, value in SERVICES[name]["environment"].items():
        assert variable.removeprefix("BACKBEAT_").lower() in Settings.model_fields
        if value is not None:
            filled = SECRET.sub("s3cret", str(value))
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", filled))
    settings = Settings()
    assert settings.bootstrap == "kafka:9092"
    assert settings.influxdb_token.get_secret_value() == "backbeat:s3cret"
    assert settings.redis_url.get_secret_value() == "redis://:s3cret@valkey:6379/0"


@pytest.mark.parametrize("name", OURS)
def test_our_services_may_write_to_their_volume_only(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["backbeat-data:/data"]


class ComposedKafka(KafkaServer):
    """Kafka with the settings that its image makes of its environment."""

    def properties(self) -> dict[str, str]:
        ports = {"9092": self.port, "9093": free_port(), "9094": free_port()}
        found = {}
        for name, value in SERVICES["kafka"]["environment"].items():
            here = value.replace("//:", f"//{HOST}:").replace("kafka:", f"{HOST}:")
            here = re.sub(r":(\d{4})\b", lambda port: f":{ports[port[1]]}", here)
            found[name.removeprefix("KAFKA_").lower().replace("_", ".")] = here
        return found | {"log.dirs": str(self.folder / "data")}


@pytest.mark.server
@pytest.mark.usefixtures("kafka_server")
def test_the_brokers_settings_start_a_real_broker(tmp_path):
    assert SERVICES["kafka"]["image"].endswith(f":{VERSION}")
    with ComposedKafka(tmp_path / "kafka") as kafka:
        assert kafka.answers()
