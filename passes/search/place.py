"""Where a user wants a study: memory, a file or a server; read from what was typed, and shown without its password."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mxhw.errors import InputError

__all__ = ["Place", "place_of", "secrets_of", "split_password"]

_FORMS = "a path, sqlite:///PATH, journal:PATH, postgresql://USER@HOST/DATABASE"


@dataclass(frozen=True)
class Place:
    """What a user named as storage.

    Attributes
    ----------
    kind : str
    path : Path or None
        Of a file.
    url : str
        For SQLAlchemy, with its password.
    label : str
        For people, without it.
    """

    kind: Literal["memory", "sqlite", "journal", "postgresql"]
    path: Path | None = None
    url: str = ""
    label: str = "study in memory"


def place_of(where: str | Path | None) -> Place:
    """Return what a path, URL or None names.

    Raises
    ------
    InputError
        For a URL of another kind, or one that cannot be read.
    """
    if where is None:
        return Place("memory")
    if isinstance(where, str) and "://" in where:
        return _place_of_url(where)
    text = str(where)
    path = Path(text.removeprefix("journal:"))
    if text.startswith("journal:") or path.suffix in (".log", ".journal"):
        return Place("journal", path, label=f"study file {path}")
    return _sqlite(path)


def _sqlite(path: Path) -> Place:
    from sqlalchemy.engine import URL

    url = URL.create("sqlite", database=str(path.resolve())).render_as_string()
    return Place("sqlite", path, url, f"study file {path}")


def _place_of_url(url: str) -> Place:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise InputError(
            "the storage's URL cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InputError("storage sqlite:// names no file; write sqlite:///PATH, or give the path alone")
        return _sqlite(Path(str(parsed.database)))
    if kind not in ("postgresql", "postgres"):
        raise InputError(f"storage of kind {kind!r} is not known; give {_FORMS}")
    parsed = parsed.set(drivername="postgresql+psycopg")
    shown = parsed.set(drivername="postgresql").difference_update_query(["password", "sslpassword"])
    label = f"storage {shown.render_as_string(hide_password=True)}"
    return Place("postgresql", None, parsed.render_as_string(hide_password=False), label)


def secrets_of(url: str) -> list[str]:
    """Return the passwords of a URL, as written and as meant."""
    if not url.startswith("postgresql"):
        return []
    from urllib.parse import quote

    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    given = [parsed.password, *(parsed.query.get(key) for key in ("password", "sslpassword"))]
    return [each for secret in given if isinstance(secret, str) and secret for each in (secret, quote(secret, safe=""))]


def split_password(where: str) -> tuple[str, str | None]:
    """Return a place without its password, and the password, for libpq's variable PGPASSWORD."""
    secrets = secrets_of(where)
    if not secrets:
        return where, None
    from sqlalchemy.engine import URL, make_url

    parsed = make_url(where)
    query = {key: value for key, value in parsed.query.items() if key != "password"}
    plain = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    return plain.render_as_string(hide_password=False), secrets[0]
