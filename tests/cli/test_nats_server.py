"""`eskit nats start` and the settings of the server and of its JetStream stream."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import stat
from pathlib import Path

import pytest

from eskit.nats.connection import connected
from eskit.nats.jetstream import api, find_stream
from tests.support.certificates import make_authority, make_certificate, needs_openssl
from tests.support.running import DEPOSIT, configure, eskit, interrupt, move, read_until

SECRET = "hush-hush/very secret"  # noqa: S105 - of a server of the test


def start_nats(launch, bank, *options, **more):
    """The process and the address it tells of."""
    process = launch("nats", "start", *options, cwd=bank, **more)
    (line,) = read_until(process, "until Ctrl-C")
    return process, line.split()[3]


def announced_url(bank) -> str:
    """The URL of the project's server with its login."""
    url: str = json.loads((bank / ".eskit" / "nats.json").read_text())["url"]
    return url


def relay(bank, *options, **more):
    return eskit("relay", "--once", *options, cwd=bank, **more)


def stream_config(url, name="BANK_EVENTS"):
    async def look():
        async with connected(url) as connection:
            state = await find_stream(connection, name)
            return None if state is None else dict(state.config)

    return asyncio.run(look())


@pytest.mark.parametrize(
    "login", [{"token": SECRET}, {"user": "alice", "password": SECRET}], ids=["token", "user"]
)
def test_the_server_demands_the_login_in_a_file_and_the_project_knows_it(launch, bank, login):
    elsewhere = Path(shutil.copytree(bank, bank.with_name("elsewhere")))
    (bank / "nats.json").write_text(json.dumps(login))
    process, address = start_nats(launch, bank, "--credentials", "nats.json")

    inside = relay(bank, "--debug")
    outside = relay(elsewhere, "--nats", address)
    right = relay(elsewhere, "--nats", address, env=variables_of(login))
    wrong = relay(bank, "--nats", address, env={"ESKIT_NATS_TOKEN": "wr0ng"})
    shown = interrupt(process)

    assert (inside.code, outside.code, right.code, wrong.code) == (0, 1, 0, 1)
    assert "refused the credentials" in outside.err
    assert "refused the credentials" in wrong.err
    told = [inside, outside, right, wrong, shown]
    assert all(SECRET not in ran.out + ran.err for ran in told)
    assert "wr0ng" not in wrong.out + wrong.err


def variables_of(login):
    return {f"ESKIT_NATS_{name.upper()}": value for name, value in login.items()}


def test_the_server_demands_the_login_in_the_environment(launch, bank):
    elsewhere = Path(shutil.copytree(bank, bank.with_name("elsewhere")))
    process, address = start_nats(launch, bank, env={"ESKIT_NATS_TOKEN": SECRET})

    inside = relay(bank)
    outside = relay(elsewhere, "--nats", address)
    announced = bank / ".eskit" / "nats.json"
    mode = stat.S_IMODE(announced.stat().st_mode)
    ended = interrupt(process)

    assert (inside.code, outside.code) == (0, 1)
    assert mode == 0o600
    assert not announced.exists()
    assert SECRET not in ended.out + ended.err


def test_a_login_that_cannot_be_demanded_is_refused(bank):
    (bank / "seed.json").write_text(json.dumps({"nkey_seed": SECRET}))
    (bank / "empty.json").write_text(json.dumps({"user": "alice", "password": ""}))

    for file, code, message in (
        ("seed.json", 2, "takes a token, or a user and password"),
        ("empty.json", 2, "takes a token, or a user and password"),
        ("nowhere.json", 1, "There is no file nowhere.json"),
    ):
        ran = eskit("nats", "start", "--credentials", file, cwd=bank)

        assert ran.code == code
        assert message in ran.err
        assert SECRET not in ran.err


@needs_openssl
def test_tls_by_options_is_trusted_by_its_authority(launch, bank, tmp_path):
    ca = make_authority(tmp_path / "a")
    cert, key = make_certificate(tmp_path / "a", "localhost")
    _, address = start_nats(launch, bank, "--tls-cert", str(cert), "--tls-key", str(key))

    untrusted = relay(bank)
    configure(bank, nats_ca=str(ca))
    trusted = relay(bank)
    tailed = eskit("tail", "--from", "first", "--no-follow", "--source", "nats", cwd=bank)

    assert address.startswith("tls://")
    assert untrusted.code == 1
    assert "does not agree on TLS" in untrusted.err
    assert trusted.code == 0, trusted.err
    assert len(tailed.out.splitlines()) == 4


@needs_openssl
def test_mutual_tls_by_settings(launch, bank, tmp_path):
    ca = make_authority(tmp_path / "a")
    cert, key = make_certificate(tmp_path / "a", "localhost")
    client_cert, client_key = make_certificate(tmp_path / "a", "client")
    configure(
        bank,
        nats_server_cert=str(cert),
        nats_server_key=str(key),
        nats_server_ca=str(ca),
        nats_ca=str(ca),
    )
    start_nats(launch, bank)

    anonymous = relay(bank)
    configure(bank, nats_cert=str(client_cert), nats_key=str(client_key))
    known = relay(bank)

    assert anonymous.code == 1
    assert "does not agree on TLS" in anonymous.err
    assert known.code == 0, known.err


@needs_openssl
def test_serve_starts_its_server_by_the_same_settings(launch, bank, tmp_path):
    ca = make_authority(tmp_path / "a")
    cert, key = make_certificate(tmp_path / "a", "localhost")
    configure(bank, nats_server_cert=str(cert), nats_server_key=str(key), nats_ca=str(ca))

    process = launch("serve", cwd=bank, env={"ESKIT_NATS_TOKEN": SECRET})
    lines = "".join(read_until(process, "stop with Ctrl-C"))
    ended = interrupt(process)

    assert re.search(r"^nats +ready  tls://127.0.0.1:\d+$", lines, re.MULTILINE)
    assert ended.code == 0, ended.err
    assert SECRET not in lines + ended.out + ended.err


def test_tls_files_that_do_not_do_are_named(bank):
    (bank / "not.pem").write_text("nonsense")

    missing = eskit("nats", "start", "--tls-cert", "a.pem", "--tls-key", "b.pem", cwd=bank)
    half = eskit("nats", "start", "--tls-cert", "not.pem", cwd=bank)
    unfit = eskit("nats", "start", "--tls-cert", "not.pem", "--tls-key", "not.pem", cwd=bank)

    assert (missing.code, half.code, unfit.code) == (1, 2, 1)
    assert "There is no file a.pem" in missing.err
    assert "--tls-cert and --tls-key" in half.err
    assert "did not start" in unfit.err


def test_log_and_payload_are_as_wanted(launch, bank):
    wrong = eskit("nats", "start", "--max-payload", "much", cwd=bank)
    start_nats(launch, bank, "--log", "nats.log", "--max-payload", "64KB")

    async def max_payload():
        async with connected(announced_url(bank)) as connection:
            return connection.max_payload

    assert wrong.code == 2
    assert "'much' is not a size" in wrong.err
    assert "Server is ready" in (bank / "nats.log").read_text()
    assert asyncio.run(max_payload()) == 64 * 1024


def test_a_port_that_is_taken_is_said_to_be(launch, bank, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        by_option = eskit("nats", "start", "--port", str(port), cwd=bank)
        configure(bank, nats_server_port=port)
        by_setting = eskit("nats", "start", cwd=bank)
    _, address = start_nats(launch, bank)

    for ran in (by_option, by_setting):
        assert ran.code == 1
        assert "address already in use" in ran.err
    assert address == f"nats://127.0.0.1:{port}"


def test_the_stream_is_created_as_the_settings_say(launch, bank):
    configure(
        bank,
        nats_max_age="7d",
        nats_max_bytes="10MB",
        nats_replicas=1,
        nats_duplicate_window="5m",
    )
    start_nats(launch, bank)

    assert relay(bank).code == 0

    config = stream_config(announced_url(bank))
    assert config is not None
    assert config["max_age"] == 7 * 86_400 * 10**9
    assert config["max_bytes"] == 10 * 2**20
    assert config["duplicate_window"] == 300 * 10**9
    assert config["num_replicas"] == 1


def test_a_stream_may_be_kept_for_less_than_the_usual_duplicate_window(launch, bank):
    configure(bank, nats_max_age="30s")
    start_nats(launch, bank)

    ran = relay(bank)

    config = stream_config(announced_url(bank))
    assert ran.code == 0, ran.err
    assert config is not None
    assert config["max_age"] == config["duplicate_window"] == 30 * 10**9


def test_a_stream_that_differs_from_the_settings_is_said_to_and_left_alone(launch, bank):
    start_nats(launch, bank)
    assert relay(bank).code == 0
    before = stream_config(announced_url(bank))
    configure(bank, nats_max_age="7d", nats_max_bytes="1GB", nats_replicas=3)

    told = relay(bank)
    as_json = relay(bank, "--json")

    assert told.code == 1
    assert "max_age is unlimited, not 7d" in told.err
    assert "max_bytes is unlimited, not 1GB" in told.err
    assert "num_replicas is 1, not 3" in told.err
    assert "nats stream edit BANK_EVENTS" in told.err
    assert as_json.json["error"]["code"] == "BROKER_MISMATCH"
    assert stream_config(announced_url(bank)) == before


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("nats_max_age", "long"),
        ("nats_max_bytes", "10 GiB"),
        ("nats_replicas", 0),
        ("nats_duplicate_window", 5),
        ("nats_server_port", True),
    ],
)
def test_a_setting_that_is_no_quantity_is_named(bank, setting, value):
    configure(bank, **{setting: value})

    ran = eskit("stream", "list", cwd=bank)

    assert ran.code == 1
    assert f"{setting} = {value!r} cannot be used" in ran.err
    assert f"For example {setting} =" in ran.err


def names_of_streams(bank):
    async def look():
        async with connected(announced_url(bank)) as connection:
            return (await api(connection, "STREAM.NAMES"))["streams"]

    return asyncio.run(look())


def test_a_project_that_has_published_as_events_goes_on_so_until_it_says_otherwise(launch, bank):
    configure(bank, nats_stream="EVENTS", nats_prefix="events")
    start_nats(launch, bank)
    assert relay(bank).code == 0
    unset(bank, "nats_stream", "nats_prefix")

    assert move(bank, DEPOSIT, "acc-001", "1.00").code == 0
    kept = relay(bank, "--json").json["data"]
    tailed = eskit("tail", "--from", "-1", "--no-follow", "--source", "nats", "--json", cwd=bank)
    before = names_of_streams(bank)
    configure(bank, nats_stream="BANK_EVENTS", nats_prefix="bank.events")
    changed = relay(bank, "--json").json["data"]

    assert (kept["published"], kept["position"]) == (1, 5)
    assert tailed.records[0]["global_position"] == 5
    assert before == ["EVENTS"]
    assert changed["published"] == 5
    assert names_of_streams(bank) == ["BANK_EVENTS", "EVENTS"]


def unset(project, *names):
    file = project / "pyproject.toml"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line.partition(" =")[0] not in names))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("nats_stream", "a b"),
        ("nats_stream", "a.b"),
        ("nats_stream", "*"),
        ("nats_stream", "x" * 256),
        ("nats_prefix", "a b"),
        ("nats_prefix", "a..b"),
        ("nats_prefix", "a.>"),
        ("nats_prefix", "tenants.a"),
        ("nats_prefix", "$JS"),
        ("nats_prefix", "x" * 256),
        ("nats_server_port", 70000),
    ],
)
def test_a_name_that_nats_does_not_take_is_refused_in_the_settings(bank, setting, value):
    configure(bank, **{setting: value})

    ran = eskit("stream", "list", cwd=bank)

    assert ran.code == 1
    assert f"{setting} = '{value}' cannot be used" in ran.err
    assert f"For example {setting} =" in ran.err


def test_a_tail_waits_for_nats_from_its_start_on(launch, bank):
    tail = launch("tail", "--source", "nats", "--from", "first", "--json", cwd=bank)
    told = read_until(tail, "waiting for NATS", stream="stderr")
    bounded = eskit("tail", "--source", "nats", "--no-follow", cwd=bank)
    start_nats(launch, bank)
    assert relay(bank).code == 0
    back = read_until(tail, "resuming", stream="stderr")
    shown = read_until(tail, '"global_position": 4')

    assert "No NATS server of this project is running" in told[-1]
    assert any("eskit nats start" in line for line in back)
    assert bounded.code == 1
    assert len(shown) == 4
    assert interrupt(tail).code == 0


@pytest.mark.promise("apps-share-a-server")
def test_a_project_of_the_first_eskit_goes_on_with_its_stream(launch, bank):
    """Its store and its server's disk, as version 0.1 at schema 5 has left them."""
    fixture = Path(__file__).parents[1] / "fixtures" / "bank_published_as_events.tar.gz"
    for left in bank.glob("bank*.db*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    shutil.unpack_archive(fixture, bank, filter="data")
    migrated = eskit("store", "migrate", cwd=bank)
    start_nats(launch, bank)

    assert move(bank, DEPOSIT, "acc-001", "5.00").code == 0
    published = relay(bank)
    tailed = eskit("tail", "--from", "first", "--no-follow", "--source", "nats", cwd=bank)

    assert migrated.code == 0, migrated.err
    assert published.code == 0, published.err
    assert "Published 1 event, up to position 2" in published.out
    assert len(tailed.out.splitlines()) == 2
    assert names_of_streams(bank) == ["EVENTS"]
