"""A copy breaks in the middle: the disk is full, or the server is lost. Run again, it resumes."""

from __future__ import annotations

import random
import subprocess
from urllib.parse import urlsplit

import pytest

from eskit.domain.claims import claim
from eskit.domain.events import EventRow
from eskit.errors import StoreError, StoreUnavailable
from eskit.operations import log_copy
from eskit.operations.copying import copy_store
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.testing.store_contract import command, text
from tests.postgres.proxy import CuttingProxy

CUTS = 12


def fill(url: str, *, events: int, size: int = 10) -> None:
    with open_store(url) as store:
        for number in range(events):
            store.append(
                f"Account-{number % 10}",
                [text(f"{number} " + "x" * size, claim("name", str(number)))],
                expected_version=number // 10,
                command=command(f"c{number}"),
            )


def rows(url: str) -> list[EventRow]:
    with open_store(url, create=False) as store, store.view() as view:
        return list(view.events())


@pytest.mark.promise("copies-miss-nothing")
def test_a_copy_whose_disk_is_full_resumes_when_there_is_room(new_url, small_disk, monkeypatch):
    monkeypatch.setattr(log_copy, "_BATCH", 20)
    source_url, target_url = new_url("sqlite"), f"sqlite:///{small_disk}/copy.db"
    fill(source_url, events=300, size=20_000)

    with pytest.raises(StoreUnavailable, match="full"):
        copy_store(source_url, target_url, finish=True)
    with open_store(source_url) as source:
        source.append("Account-1", [text("later")], expected_version=30)
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    done = copy_store(source_url, target_url, finish=True)

    assert 0 < done.copied < 301
    assert rows(target_url) == rows(source_url)
    with open_store(target_url) as target:
        assert verify(target).findings == ()


@pytest.mark.parametrize("role", ["source", "target"])
@pytest.mark.promise("copies-miss-nothing")
@pytest.mark.promise("one-of-two-is-open")
def test_a_copy_whose_connections_are_cut_resumes(postgres, new_url, monkeypatch, role):
    monkeypatch.setattr(log_copy, "_BATCH", 50)
    direct, file = new_url("postgresql"), new_url("sqlite")
    source_url, target_url = (direct, file) if role == "source" else (file, direct)
    fill(source_url, events=200)
    port, seed = urlsplit(postgres).port, random.randrange(2**32)
    dice, cuts = random.Random(seed), 0

    with CuttingProxy(port) as proxy:
        through = {direct: direct.replace(f":{port}/", f":{proxy.port}/")}
        urls = [through.get(url, url) for url in (source_url, target_url)]
        for number in range(CUTS):
            proxy.cut_after(dice.randint(1_000, 120_000) if number else 20_000)
            try:
                copy_store(*urls, finish=True)
            except StoreError:
                cuts += 1

    done = copy_store(source_url, target_url, finish=True)
    assert cuts > 0, f"seed {seed}"
    assert done.finished
    assert rows(target_url) == rows(source_url)
    with open_store(source_url) as source, open_store(target_url) as target:
        assert verify(target).findings == ()
        assert [target.find_command(f"c{number}") for number in range(200)] == [
            source.find_command(f"c{number}") for number in range(200)
        ]
        target.append("Account-1", [text("here")], expected_version=20)
        with pytest.raises(StoreUnavailable, match="was moved to"):
            source.append("Account-1", [text("there")], expected_version=20)
