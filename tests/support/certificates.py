"""Certificates for the tests of TLS, by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def make_authority(folder: Path) -> Path:
    """The certificate of a new authority, in a folder of its own."""
    folder.mkdir()
    _openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ca.key",
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-out",
        "ca.pem",
    )
    return folder / "ca.pem"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key of the folder's authority, for a name and for the loopback address."""
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
    _openssl(
        folder,
        f"req -newkey rsa:2048 -nodes -subj /CN={name}",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
    )
    _openssl(
        folder,
        "x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial",
        "-in",
        f"{name}.csr",
        "-extfile",
        f"{name}.ext",
        "-out",
        f"{name}.pem",
    )
    return folder / f"{name}.pem", folder / f"{name}.key"


def _openssl(folder: Path, command: str, *more: str) -> None:
    subprocess.run(
        ["openssl", *command.split(), *more], cwd=folder, check=True, capture_output=True
    )
