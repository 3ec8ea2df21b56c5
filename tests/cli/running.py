"""Running eskit as a process of its own, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN = "account.v1.AccountCommandService/OpenAccount"
DEPOSIT = "account.v1.AccountCommandService/Deposit"
WITHDRAW = "account.v1.AccountCommandService/Withdraw"


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def start(*args: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Start eskit as a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ESKIT_", "NO_COLOR"))}
    environment |= options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "eskit", *args],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def eskit(*args: str, cwd: Path, timeout: float = 60, **options: Any) -> Ran:
    """Run eskit as a process of its own until it ends."""
    process = start(*args, cwd=cwd, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ran(process.returncode, out, err)


def open_account(project: Path, account: str, owner: str = "Alice", amount: str = "1000.00") -> Ran:
    data = {"account_id": account, "owner_name": owner, "initial_balance": amount}
    return eskit("call", OPEN, "--data", json.dumps(data), cwd=project)


def move(project: Path, method: str, account: str, amount: str) -> Ran:
    data = {"account_id": account, "amount": amount}
    return eskit("call", method, "--data", json.dumps(data), cwd=project)
