"""A PostgreSQL server of a test's own: its programs as Debian installs them, run by a user who is not root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "se/cr%et"
QUOTED = "se%2Fcr%25et"


def programs() -> Path:
    """Return the folder of the server's programs, or skip the test."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'mxhw[distributed]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no PostgreSQL server is installed; `make test-postgres` as root installs Debian's")
    return (found[-1] if found else Path(str(on_path))).parent


def unprivileged() -> dict[str, object]:
    """Return arguments of `subprocess.run` for a user whom the server does not refuse."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("the server refuses root, and there is neither a user postgres nor nobody")


class Server:
    """A server on a free port of 127.0.0.1, with a database `mxhw` of a user `mxhw` who has a password."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs, self.user = folder, programs(), unprivileged()
        self.data = folder / "data"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.url = f"postgresql://mxhw:{QUOTED}@127.0.0.1:{self.port}/mxhw"
        (folder / "password").write_text(PASSWORD)
        if self.user:
            for path in (folder, folder / "password"):
                os.chown(path, self.user["user"], self.user["group"])

    def call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD, "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            **self.user,
        )
        assert done.returncode == 0, done.stdout

    def make(self) -> None:
        self.call(
            *("initdb", "--pgdata", str(self.data), "--username", "mxhw", "--auth", "scram-sha-256"),
            *("--pwfile", str(self.folder / "password"), "--encoding", "UTF8"),
        )
        self.start()
        self.call("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", "mxhw", "mxhw")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        # pg_ctl's own output goes to a file: the server would keep a pipe open.
        self.call("pg_ctl", "start", "--wait", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """Stop without a farewell, as a crash does."""
        self.call("pg_ctl", "stop", "--wait", "-D", str(self.data), "-m", "immediate")


@contextmanager
def server() -> Iterator[Server]:
    """Yield a running server; nothing is left of it."""
    programs()
    with tempfile.TemporaryDirectory(prefix="mxhw-postgres-") as folder:  # pytest's folders are closed to other users
        found = Server(Path(folder))
        found.make()
        try:
            yield found
        finally:
            if (found.data / "postmaster.pid").exists():
                found.stop()
