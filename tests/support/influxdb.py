"""InfluxDB 1.8.10 with Flux, built once from its Go module.

Its API of version 2 takes the token `user:password`, the organisation `-` and the bucket
`database/policy`; without authentication any token will do.
"""

import http.client
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

from tests.support.cache import build, cached, tool
from tests.support.process import HOST, ServerError, ServerProcess, free_port

VERSION = "1.8.10"
_MODULE = "github.com/influxdata/influxdb"


class InfluxDBServer(ServerProcess):
    """An InfluxDB server; with `password` it wants authentication as the user `backbeat`."""

    name = "influxdb"
    start_within: ClassVar[float] = 90.0
    org = "-"

    def __init__(self, folder: Path, port: int | None = None, password: str | None = None) -> None:
        super().__init__(folder, port)
        self._backup_port = free_port()
        self._password = password

    @property
    def url(self) -> str:
        """The server as BACKBEAT_INFLUXDB_URL has it."""
        return f"http://{self.address}"

    @property
    def token(self) -> str:
        """The server's token as BACKBEAT_INFLUXDB_TOKEN has it."""
        return f"backbeat:{self._password or 'unused'}"

    @classmethod
    def install(cls) -> None:
        """Build the program, once; two to three minutes."""
        _binary()

    def prepare(self) -> None:
        """Write the configuration: loopback only, nothing reported to its makers."""
        (self.folder / "influxdb.conf").write_text(f"""\
reporting-disabled = true
bind-address = "{HOST}:{self._backup_port}"
[meta]
  dir = "{self.folder}/meta"
[data]
  dir = "{self.folder}/data"
  wal-dir = "{self.folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{self.address}"
  flux-enabled = true
  log-enabled = false
  auth-enabled = {str(self._password is not None).lower()}
""")

    def command(self) -> list[str]:
        """Run the server."""
        return [str(_binary()), "run", "-config", str(self.folder / "influxdb.conf")]

    def answers(self) -> bool:
        """A ping is answered, and the first user is there if one is wanted."""
        if self._request("GET", "/ping")[0] != 204:
            return False
        if self._password is not None:
            # Allowed to anyone while there is no user, and to the same user ever after.
            create = f"CREATE USER backbeat WITH PASSWORD '{self._password}' WITH ALL PRIVILEGES"
            return self._execute(create)[0] == 200
        return True

    def create_database(self, name: str) -> None:
        """Create a database; its bucket is called `name/autogen`."""
        status, body = self._execute(f'CREATE DATABASE "{name}"')
        if status != 200:
            msg = f"database {name} was not created: {status} {body}"
            raise ServerError(msg)

    def _execute(self, influxql: str) -> tuple[int, str]:
        user = {"u": "backbeat", "p": self._password} if self._password is not None else {}
        return self._request("POST", f"/query?{urlencode({'q': influxql, **user})}")

    def _request(self, method: str, target: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


def _binary() -> Path:
    return cached(f"influxd-{VERSION}", _install) / "influxd"


def _install(folder: Path) -> None:
    go = tool("go")
    proxy = subprocess.run(
        [go, "env", "GOPROXY"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    # Modules only, never a source repository; one package at a time, for small machines.
    env = {"GOPROXY": proxy.replace(",direct", ""), "GOBIN": str(folder), "GOFLAGS": ""}
    stamp = f"-X main.version={VERSION}"
    build([go, "install", "-p", "1", "-ldflags", stamp, f"{_MODULE}/cmd/influxd@v{VERSION}"], env)
