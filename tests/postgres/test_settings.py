"""How a server is named and trusted: variables, service files, .pgpass, TLS, hidden passwords."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, open_store
from eskit.cli.main import main
from eskit.errors import EskitError, InvalidArgument, StoreUnavailable
from eskit.postgres.url import parse_url
from tests.support.certificates import make_authority, make_certificate, needs_openssl
from tests.support.postgres import new_store

SECRET = "s3cr3t-in-the-url"  # noqa: S105 - of no server


def store_and_read(url):
    with open_store(url) as store:
        store.append("Account-1", [NewEvent(StringValue(value="a"))], expected_version=ANY)
        return store.head_position(), store.about().url


@pytest.fixture
def parts(store_url):
    """The parts of a URL, and the schema of a store that is not there yet."""
    return urlsplit(store_url), parse_url(store_url).schema


def test_variables_say_what_the_url_does_not(parts, monkeypatch):
    server, schema = parts
    monkeypatch.setenv("PGHOST", server.hostname)
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGUSER", server.username)
    monkeypatch.setenv("PGPASSWORD", server.password)
    monkeypatch.setenv("PGDATABASE", server.path[1:])

    head, shown = store_and_read(f"postgresql://?schema={schema}")

    assert head == 1
    assert server.password not in shown


def test_a_service_file_and_a_password_file_say_the_rest(parts, monkeypatch, tmp_path):
    server, schema = parts
    services, passwords = tmp_path / "services.conf", tmp_path / "pgpass"
    services.write_text(
        f"[bank]\nhost={server.hostname}\nport={server.port}\nuser={server.username}\n"
        f"dbname={server.path[1:]}\n"
    )
    passwords.write_text(f"{server.hostname}:{server.port}:*:{server.username}:{server.password}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.delenv("PGPASSWORD", raising=False)

    with_variable = f"postgresql://?service=bank&schema={schema}"
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    head, shown = store_and_read(with_variable)
    monkeypatch.delenv("PGPASSFILE")
    again, _ = store_and_read(f"{with_variable}&passfile={passwords}")

    assert (head, again) == (1, 2)
    assert "service=bank" in shown


class TlsInFront:
    """Speaks TLS as a PostgreSQL server does, before one that was built without."""

    def __init__(self, port, cert, key):
        self._target = ("127.0.0.1", port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        with plain, contextlib.suppress(OSError):
            if plain.recv(8) != b"\0\0\0\x08\x04\xd2\x16\x2f":  # it asks for TLS
                return
            plain.sendall(b"S")
            with (
                self._context.wrap_socket(plain, server_side=True) as client,
                socket.create_connection(self._target) as server,
            ):
                client.setblocking(False)
                while True:
                    readable, _, _ = select.select([client, server], [], [])
                    for source, sink in ((client, server), (server, client)):
                        with contextlib.suppress(ssl.SSLWantReadError):
                            while source in readable:
                                data = source.recv(65536)
                                if not data:
                                    return
                                sink.sendall(data)
                                if source is server or not client.pending():
                                    break


@pytest.fixture(scope="module")
def tls(postgres, tmp_path_factory):
    """A URL through TLS with a certificate for 127.0.0.1, its authority, and another one."""
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder / "ca")
    other = make_authority(folder / "other")
    cert, key = make_certificate(folder / "ca", "bank.test")
    port = urlsplit(postgres).port
    with TlsInFront(port, cert, key) as front:
        yield postgres.replace(f":{port}/", f":{front.port}/"), authority, other


@needs_openssl
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_certificate_of_the_authority_for_this_host_is_trusted(tls, mode):
    server, authority, _ = tls
    url = f"{new_store(server)}&sslmode={mode}&sslrootcert={authority}"

    head, shown = store_and_read(url)

    assert head == 1
    assert f"sslmode={mode}" in shown


@needs_openssl
def test_a_certificate_of_somebody_else_or_for_another_host_is_not_trusted(tls):
    server, authority, other = tls
    full = f"{new_store(server)}&sslmode=verify-full"

    refusals = []
    for url in (
        f"{full}&sslrootcert={other}",
        f"{full}&sslrootcert={authority}".replace("127.0.0.1", "localhost"),
        f"{full}&sslrootcert=/nowhere/ca.pem",
    ):
        with pytest.raises(StoreUnavailable, match="cannot be trusted") as refused:
            open_store(url)
        refusals.append(refused.value)

    assert {refused.hint for refused in refusals} == {refusals[0].hint}
    assert "sslrootcert" in refusals[0].hint


@needs_openssl
def test_a_server_without_tls_is_refused_where_it_is_demanded(store_url):
    with pytest.raises(StoreUnavailable, match="cannot be trusted"):
        open_store(f"{store_url}&sslmode=require")


WRONG = [
    "postgresql://ann:{secret}@127.0.0.1:1/bank",
    "postgresql://ann:{secret}@127.0.0.1:port/bank",
    "postgresql://ann:{secret}@[::1/bank",
    "postgresql://ann:{secret}@h/bank?schema=%zz&sslmode=never",
    "postgresql://ann@127.0.0.1:1/bank?password={secret}",
    "postgresql://ann:{secret}@127.0.0.1:1/bank?sslpassword={secret}&nothing=1",
    "postgresql://ann:{secret}@127.0.0.1:1/bank?schema=",
    "postgresql://ann:{secret}%zz@127.0.0.1:1/bank",
    "postgresql://ann:{secret}@127.0.0.1:1/bank?command_ttl_days=x",
    "postgres://ann:{secret}@127.0.0.1:1/bank",
    "postgre://ann:{secret}@127.0.0.1:1/bank",
    "postgre://ann@127.0.0.1:1/bank?password={secret}",
]


@pytest.mark.parametrize("url", WRONG)
def test_no_error_of_a_url_shows_its_password(url):
    error = None
    try:
        open_store(url.format(secret=SECRET))
    except EskitError as refused:
        error = refused

    assert error is not None
    while error is not None:
        assert SECRET not in f"{error}{error!r}{getattr(error, 'hint', '')}"
        error = error.__cause__


def test_what_libpq_cannot_read_is_wrong_usage():
    for url in WRONG[1:4]:
        with pytest.raises(InvalidArgument):
            open_store(url.format(secret=SECRET))


COMMANDS = [
    ["store", "init"],
    ["store", "info", "--debug"],
    ["store", "info", "--json"],
    ["store", "verify", "--debug"],
    ["store", "migrate"],
    ["store", "prune", "--dry-run"],
    ["store", "backup", "copy.db", "--debug"],
    ["store", "restore", "copy.db", "--json"],
    ["store", "export", "all.jsonl"],
    ["store", "import", "all.jsonl", "--debug"],
    ["store", "roles"],
    ["store", "copy", "sqlite:///there.db", "{url}", "--debug"],
    ["store", "copy", "{url}", "sqlite:///here.db", "--json"],
    ["store", "copy", "{url}", "sqlite:///here.db", "--abort", "--debug"],
    ["stream", "list", "--json"],
    ["stream", "read", "Account-9"],
    ["stream", "erase", "Account-9", "--reason", "r", "--yes"],
    ["tail", "--no-follow"],
    ["claim", "list"],
    ["claim", "rebuild", "--check"],
    ["checkpoint", "list"],
    ["deadletter", "list"],
    ["snapshot", "list"],
    ["reaction", "list", "--debug"],
    ["replay", "Account-9", "--debug"],
]


def test_no_command_shows_a_password(store_url, tmp_path, capsys):
    password = urlsplit(store_url).password
    (tmp_path / "pyproject.toml").write_text(f'[tool.eskit]\nstore = "{store_url}"\n')
    wrong = store_url.replace(password, SECRET)
    shown, codes = "", set()

    for command in COMMANDS:
        for options in ([], ["--store", wrong]):
            place = options[-1] if options else store_url
            codes.add(main([word.format(url=place) for word in command] + options))
            said = capsys.readouterr()
            shown += said.out + said.err

    assert password not in shown
    assert SECRET not in shown
    assert "***" in shown
    assert codes >= {0, 1, 2}


def test_no_log_of_a_service_shows_a_password(store_url, tmp_path):
    script = (
        "import logging, sys\n"
        "logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)\n"
        "from eskit import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "print(repr(store), vars(store.about()) if hasattr(store.about(), '__dict__')"
        " else store.about())\n"
        "store.close()\n"
        "try:\n"
        "    store.head_position()\n"
        "except Exception as error:\n"
        "    print(repr(error))\n"
    )
    ran = subprocess.run(
        [os.sys.executable, "-c", script, store_url],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stderr
    assert urlsplit(store_url).password not in json.dumps([ran.stdout, ran.stderr])
