"""Store URLs: what they open, and what is refused."""

from pathlib import Path

import pytest

from eskit.domain.commands import Command
from eskit.domain.streams import ANY
from eskit.errors import InvalidArgument, StoreUnavailable
from eskit.operations.pruning import prune_commands
from eskit.sqlite.url import absolute_url, sqlite_path, sqlite_url
from eskit.store.open import open_store
from eskit.testing.store_contract import texts


def test_a_relative_path_is_created_in_the_current_folder(tmp_path):
    with open_store("sqlite:///log.db") as store:
        store.append("Account-1", texts("a"), expected_version=ANY)

    assert (tmp_path / "log.db").is_file()


def test_a_store_keeps_its_events_and_its_id(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/a%20b.db") as store:
        store.append("Account-1", texts("a"), expected_version=ANY)
        store_id = store.store_id

    with open_store(f"sqlite:///{tmp_path}/a%20b.db?synchronous=normal", create=False) as again:
        assert again.store_id == store_id
        assert again.stream_version("Account-1") == 1
    assert (tmp_path / "a b.db").is_file()


def test_a_store_stays_where_it_was_opened_when_the_process_changes_its_folder(
    tmp_path, monkeypatch
):
    with open_store("sqlite:///log.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.append("Account-1", texts("a"), expected_version=ANY)

        assert store.head_position() == 1


def test_a_missing_file_is_not_created_for_reading(tmp_path):
    with pytest.raises(StoreUnavailable) as missing:
        open_store("sqlite:///log.db", create=False)

    assert "store init" in missing.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_not_created(tmp_path):
    with pytest.raises(StoreUnavailable):
        open_store("sqlite:///no/such/log.db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "bank.db",
        "mysql://localhost/bank",
        "sqlite:bank.db",
        "sqlite:/srv/bank.db",
        "sqlite://bank.db",
        "sqlite:///bank#1.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///log.db?synchronous=off",
        "sqlite:///log.db?synchronus=full",
        "sqlite:///log.db?busy_timeout=soon",
        "sqlite:///log.db?busy_timeout=nan",
        "sqlite:///log.db?command_ttl_days=-1",
    ],
)
def test_a_url_that_names_no_store_is_refused(url, tmp_path):
    with pytest.raises(InvalidArgument) as refused:
        open_store(url)

    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_option_is_answered_with_the_nearest():
    with pytest.raises(InvalidArgument) as refused:
        open_store("sqlite:///log.db?synchronus=full")

    assert refused.value.hint == "Did you mean synchronous?"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("bank.db", "sqlite:///bank.db"),
        ("/srv/bank.db", "sqlite:////srv/bank.db"),
        ("/srv/100% #1?.db", "sqlite:////srv/100%25 %231%3F.db"),
        ("bank:1.db", "sqlite:///bank:1.db"),
    ],
)
def test_a_path_in_place_of_a_url_is_answered_with_its_url(path, url):
    with pytest.raises(InvalidArgument) as refused:
        open_store(path)

    assert refused.value.hint.endswith(f" {url}")
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize("url", ["", "mysql://localhost/bank", "//ann:secret@host/db", "file:b.db"])
def test_what_is_no_path_either_is_answered_with_the_urls_there_are(url):
    with pytest.raises(InvalidArgument) as refused:
        open_store(url)

    assert refused.value.hint == "Use sqlite:///FILE.db, postgresql://HOST/DATABASE or memory://"


def test_a_password_in_a_url_is_not_shown():
    with pytest.raises(InvalidArgument) as refused:
        open_store("other://ann:secret@host/db")

    assert "secret" not in str(refused.value)


def test_memory_stores_share_a_log_by_name_only():
    with open_store("memory://shared-by-name") as first:
        first.append("Account-1", texts("a"), expected_version=ANY)
    with (
        open_store("memory://shared-by-name") as second,
        open_store("memory://other-name") as other,
        open_store("memory://") as unnamed,
        open_store("memory://") as unnamed_again,
    ):
        unnamed.append("Account-1", texts("a", "b"), expected_version=ANY)

        heads = [store.head_position() for store in (second, other, unnamed, unnamed_again)]

    assert heads == [1, 0, 2, 0]


def test_the_path_of_a_url_is_what_sqlite_opens():
    assert sqlite_path("sqlite:///bank.db?synchronous=normal") == Path("bank.db")
    assert sqlite_path("sqlite:////var/lib/bank.db") == Path("/var/lib/bank.db")


@pytest.mark.parametrize(
    "name", ["a b", "100%", "%20", "#1", "who?", "é;&=+", "tab\tline\r\n", ":"]
)
@pytest.mark.parametrize("folder", ["", "/srv/", "../#/"])
def test_the_url_of_a_path_leads_back_to_it(folder, name):
    path = Path(f"{folder}{name}.db")

    assert sqlite_path(sqlite_url(path)) == path
    assert sqlite_path(f"{sqlite_url(path)}?busy_timeout=1") == path


def test_a_relative_path_is_made_absolute_from_a_folder_of_any_name():
    folder = Path("/srv/#1 100%")

    url = absolute_url("sqlite:///who%3F.db?busy_timeout=1", folder)

    assert sqlite_path(url) == folder / "who?.db"
    assert url.endswith("?busy_timeout=1")


def test_the_time_to_live_of_command_ids_is_an_option():
    command = Command(id="c1", fingerprint="f")
    with open_store("sqlite:///log.db?command_ttl_days=0") as store:
        store.append("Account-1", [], expected_version=ANY, command=command)

        assert prune_commands(store).commands == 1
        assert not store.append(
            "Account-1", [], expected_version=ANY, command=command
        ).already_processed
