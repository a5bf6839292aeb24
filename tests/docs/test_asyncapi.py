"""The AsyncAPI document against the official JSON schema, which npm's package @asyncapi/specs carries."""

import hashlib
import json
import tarfile
from pathlib import Path

import jsonschema
import pytest

from cli.docs import documents
from tests.support.cache import build, cached, tool
from tests.support.process import ServerUnavailableError
from tests.support.servers import unavailable

PACKAGE = "@asyncapi/specs@6.11.1"
MEMBER = "package/schemas/3.0.0.json"
SHA256 = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"


def fetch(folder: Path) -> None:
    """Put the schema, and nothing else of the package, into the folder."""
    build([tool("npm"), "pack", "--silent", "--pack-destination", str(folder), PACKAGE])
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        member = package.extractfile(MEMBER)
        assert member is not None
        content = member.read()
    assert hashlib.sha256(content).hexdigest() == SHA256
    (folder / "schema.json").write_bytes(content)
    archive.unlink()


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    try:
        folder = cached("asyncapi-3.0.0-6.11.1", fetch)
    except ServerUnavailableError as error:
        unavailable(error)
    return jsonschema.Draft7Validator(json.loads((folder / "schema.json").read_bytes()))


def test_the_document_is_valid_asyncapi(validator):
    document = json.loads(documents()["asyncapi.json"])
    assert document["asyncapi"] == "3.0.0"
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("part", ["info", "operations", "channels"])
def test_the_schema_would_notice(validator, part):
    """Else a schema that cannot be resolved would let everything pass."""
    document = json.loads(documents()["asyncapi.json"])
    document[part] = {"first": {"no": "such thing"}}
    assert list(validator.iter_errors(document))
