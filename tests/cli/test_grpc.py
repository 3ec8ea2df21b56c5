"""`eskit serve --grpc` as clients see it that have nothing but the proto."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import make_authority, make_certificate, needs_openssl
from tests.support.running import eskit, interrupt, read_until

SERVICE = "account.v1.AccountCommandService"
PLAIN = """
import sys
import grpc
from account.v1 import account_pb2 as pb, account_pb2_grpc as rpc

assert "eskit" not in sys.modules
address, *files = sys.argv[1:]
if files:
    authority, key, certificate = (open(file, "rb").read() for file in files)
    tls = grpc.ssl_channel_credentials(authority, key, certificate)
    channel = grpc.secure_channel(address, tls)
else:
    channel = grpc.insecure_channel(address)
with channel:
    commands, queries = rpc.AccountCommandServiceStub(channel), rpc.AccountQueryServiceStub(channel)
    done = commands.Deposit(
        pb.DepositCommand(account_id="acc-001", amount="25.00"),
        metadata=[("command-id", "d-1")],
        timeout=30,
    )
    view = queries.GetAccount(pb.GetAccountRequest(account_id="acc-001"), timeout=30)
    try:
        commands.Withdraw(pb.WithdrawCommand(account_id="acc-001", amount="9999"), timeout=30)
    except grpc.RpcError as error:
        print(done.new_balance, view.balance, error.code().name)
"""


@pytest.fixture
def plain(bank, tmp_path):
    """Stubs that plain protoc makes of the bank's proto and of eskit's options."""
    folder = tmp_path / "plain"
    folder.mkdir()
    options = Path(__file__).parents[2] / "proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{bank / 'proto'}", f"-I{options}"]
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    protos = [
        str(file.relative_to(root))
        for root in (bank / "proto", options)
        for file in root.rglob("*.proto")
    ]
    subprocess.run([*command, *outputs, *protos], check=True)
    (folder / "client.py").write_text(PLAIN)
    return folder


def call_plainly(plain, address, *files):
    command = [sys.executable, "client.py", address, *map(str, files)]
    done = subprocess.run(
        command, check=False, cwd=plain, capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def serve(launch, bank, *options):
    """Serve the bank, and say where its gRPC is."""
    process = launch("serve", "--no-relay", *options, cwd=bank)
    lines = read_until(process, "up; stop with")
    (address,) = re.findall(r"grpcs?://(\S+)", "".join(lines))
    return process, address


def test_clients_of_the_proto_alone_call_and_the_tools_of_grpc_find_everything(launch, bank, plain):
    process, address = serve(launch, bank, "--grpc", "0")

    assert call_plainly(plain, address) == ["1225.25", "1225.25", "FAILED_PRECONDITION"]

    asked = ["buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    listed = subprocess.run(
        [*asked, "--list-services", f"http://{address}"], capture_output=True, text=True, check=True
    )
    assert SERVICE in listed.stdout
    data = json.dumps({"account_id": "acc-001", "amount": "9999"})
    refused = subprocess.run(
        [*asked, "--data", data, f"http://{address}/{SERVICE}/Withdraw"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert json.loads(refused.stderr)["code"] == "failed_precondition"
    assert interrupt(process).code == 0


@needs_openssl
def test_with_an_authority_only_clients_that_it_knows_are_let_in(launch, bank, plain, tmp_path):
    authority = make_authority(tmp_path / "authority")
    certificate, key = make_certificate(authority.parent, "localhost")
    _, address = serve(
        launch,
        bank,
        *("--grpc", "0.0.0.0:0", "--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--tls-clients", str(authority)),
    )
    port = address.rpartition(":")[2]
    client, client_key = make_certificate(authority.parent, "client")
    stranger = make_authority(tmp_path / "another")
    wrong, wrong_key = make_certificate(stranger.parent, "client")

    done = call_plainly(plain, f"localhost:{port}", authority, client_key, client)

    assert done == ["1225.25", "1225.25", "FAILED_PRECONDITION"]
    with pytest.raises(AssertionError, match="UNAVAILABLE"):
        call_plainly(plain, f"localhost:{port}", authority, wrong_key, wrong)


@pytest.mark.parametrize(
    ("options", "missing"), [([], "TLS and an authenticator"), (["tls"], "an authenticator")]
)
def test_beyond_this_machine_it_is_not_open_to_everybody(bank, tmp_path, options, missing):
    file = tmp_path / "any.pem"
    file.write_text("")
    tls = ["--tls-certificate", str(file), "--tls-key", str(file)] if options else []

    refused = eskit("serve", "--grpc", "0.0.0.0:0", *tls, cwd=bank)

    assert refused.code == 2
    assert f"has not {missing}" in " ".join(refused.err.split())
    assert "--insecure" in refused.err


def test_whoever_wants_it_open_says_so(launch, bank, plain):
    _, address = serve(launch, bank, "--grpc", "0.0.0.0:0", "--insecure")

    port = address.rpartition(":")[2]
    assert call_plainly(plain, f"127.0.0.1:{port}")[0] == "1225.25"


@pytest.mark.parametrize(
    "options",
    [
        ["--grpc", "here"],
        ["--grpc", "99999"],
        ["--grpc", "0", "--tls-key", "pyproject.toml"],
        ["--tls-certificate", "pyproject.toml", "--tls-key", "pyproject.toml"],
        ["--grpc", "0", "--tls-certificate", "nowhere", "--tls-key", "nowhere"],
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(bank, options):
    assert eskit("serve", *options, cwd=bank).code == 2
