"""A project's settings: what they are called, what they may be, and where each came from.

They come, later ones winning, from the defaults, from ``[tool.eskit]`` in pyproject.toml (or
eskit.toml with the same keys at top level), from ESKIT_STORE and ESKIT_NATS, and from options.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eskit.errors import InvalidArgument, ProjectError
from eskit.files.modes import parse_mode
from eskit.text.quantities import parse_duration, parse_number, parse_size
from eskit.text.suggestions import find_nearest

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "app": ("",),
    "proto": ("proto",),
    "gen": ("",),
    "exclude": (),
    "schema_accept": (),
    "store": ("sqlite:///events.db",),
    "read_models": ("",),
    "file_mode": ("",),
    "slow_after": ("10s",),
    "nats": ("embedded",),
    "nats_stream": ("",),
    "nats_prefix": ("",),
    "nats_credentials": ("",),
    "nats_ca": ("",),
    "nats_cert": ("",),
    "nats_key": ("",),
    "nats_max_age": ("",),
    "nats_max_bytes": ("",),
    "nats_replicas": ("",),
    "nats_duplicate_window": ("",),
    "nats_server_port": ("",),
    "nats_server_cert": ("",),
    "nats_server_key": ("",),
    "nats_server_ca": ("",),
}
"""Every setting and its default.

Without `file_mode` only their owner reads the files with events and rows.
Without `gen` code goes to ``gen`` in the app's package, without `read_models` they lie beside the
store, wherever that is; `nats_stream` and `nats_prefix` come from the name of the app's package.
"""

ENVIRONMENT: Mapping[str, str] = {"ESKIT_STORE": "store", "ESKIT_NATS": "nats"}
"""The environment variables that override a setting."""

_EXAMPLES: Mapping[str, str] = {
    "app": 'app = "bank.app:app"',
    "proto": 'proto = ["proto"]',
    "gen": 'gen = "bank/gen"',
    "exclude": 'exclude = ["vendor/", "acme.billing.v1"]',
    "schema_accept": 'schema_accept = ["3f9a2c1e"]',
    "store": 'store = "sqlite:///bank.db"',
    "read_models": 'read_models = "sqlite:///bank_read.db"',
    "file_mode": 'file_mode = "0640"',
    "slow_after": 'slow_after = "10s"',
    "nats": 'nats = "nats://localhost:4222"',
    "nats_stream": 'nats_stream = "BANK_EVENTS"',
    "nats_prefix": 'nats_prefix = "bank.events"',
    "nats_credentials": 'nats_credentials = "secrets/nats.creds"',
    "nats_ca": 'nats_ca = "secrets/ca.pem"',
    "nats_cert": 'nats_cert = "secrets/client.pem"',
    "nats_key": 'nats_key = "secrets/client-key.pem"',
    "nats_max_age": 'nats_max_age = "30d"',
    "nats_max_bytes": 'nats_max_bytes = "10GB"',
    "nats_replicas": "nats_replicas = 3",
    "nats_duplicate_window": 'nats_duplicate_window = "2m"',
    "nats_server_port": "nats_server_port = 4222",
    "nats_server_cert": 'nats_server_cert = "secrets/server.pem"',
    "nats_server_key": 'nats_server_key = "secrets/server-key.pem"',
    "nats_server_ca": 'nats_server_ca = "secrets/ca.pem"',
}

_LISTS: Mapping[str, str] = {
    "proto": "a list of folders",
    "exclude": "a list of files, packages and services",
    "schema_accept": "a list of keys",
}
"""The settings that may have several values, and what these are."""

_QUANTITIES: Mapping[str, Callable[[str], object]] = {
    "file_mode": parse_mode,
    "slow_after": parse_duration,
    "nats_max_age": parse_duration,
    "nats_max_bytes": parse_size,
    "nats_replicas": parse_number,
    "nats_duplicate_window": parse_duration,
    "nats_server_port": parse_number,
}
"""The settings that are more than text, and what reads them; a plain number need not be quoted."""

_STREAM_NAME = re.compile(r"[^\s.*>/\\\x00-\x20\x7f]{1,255}")
_PREFIX = re.compile(r"(?![$_]|tenants(\.|$))[^\s.*>\x00-\x20\x7f]+(\.[^\s.*>\x00-\x20\x7f]+)*")
_PORTS = range(1, 65536)

_NAMES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "nats_stream": (
        _STREAM_NAME.fullmatch,
        "A stream's name has neither blanks nor any of . * > / \\",
    ),
    "nats_prefix": (
        lambda text: len(text) <= _LONGEST_PREFIX and _PREFIX.fullmatch(text),
        (
            "It is words with dots in between, without blanks, * and >, and begins neither with $ "
            "or _ nor with tenants."
        ),
    ),
    "nats_server_port": (lambda text: int(text) in _PORTS, "A port is a number from 1 to 65535"),
}
"""Settings that NATS would refuse, each with what it takes."""
_LONGEST_PREFIX = 255

_USER_IN_URL = re.compile(r"://[^/]*@")
_PASSWORD_IN_URL = re.compile(r"([?&]\w*password=)[^&#\s]*")


def without_secrets(text: str) -> str:
    """A text without the user and the passwords of a URL in it."""
    return _PASSWORD_IN_URL.sub(r"\1…", _USER_IN_URL.sub("://…@", text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting and where it came from; those in `_LISTS` may have several values.

    `origin` is ``default``, ``pyproject.toml``, ``eskit.toml``, ``environment`` or ``option``.
    """

    name: str
    values: tuple[str, ...]
    origin: str

    @property
    def text(self) -> str:
        """The value, or the values with commas between them."""
        return ", ".join(self.values)

    @property
    def shown(self) -> str:
        """`text` without the user and password that a URL in it may have."""
        return without_secrets(self.text)


def read_settings(
    table: Mapping[str, object],
    *,
    file: Path,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
) -> dict[str, Setting]:
    """Every setting by name; empty values in `environ` and `overrides` count as not given.

    Raises ProjectError naming the file and the key.
    """
    settings = {
        name: Setting(name=name, values=values, origin="default")
        for name, values in DEFAULTS.items()
    }
    for name, value in table.items():
        settings[name] = Setting(
            name=name, values=_checked(name, value, file=file), origin=file.name
        )
    for variable, name in ENVIRONMENT.items():
        if text := environ.get(variable):
            settings[name] = Setting(name=name, values=(text,), origin="environment")
    for name, text in overrides.items():
        if text:
            settings[name] = Setting(name=name, values=(text,), origin="option")
    return settings


def load_settings(start: Path) -> tuple[Path, Mapping[str, object]]:
    """The file with settings that is nearest, upwards, and what it says, not checked yet.

    Raises PROJECT_NOT_FOUND, and ProjectError for files that cannot be read or contradict.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        own = _read_toml(folder / "eskit.toml")
        pyproject = _read_toml(folder / "pyproject.toml")
        tool = (pyproject or {}).get("tool")
        section = tool.get("eskit") if isinstance(tool, dict) else None
        if own is not None and section is not None:
            raise ProjectError(
                f"{folder} has settings in eskit.toml and in pyproject.toml",
                hint="Keep one: move [tool.eskit] into eskit.toml, or the other way round.",
            )
        if own is not None:
            return folder / "eskit.toml", own
        if section is not None:
            if not isinstance(section, dict):
                raise ProjectError(f"{folder / 'pyproject.toml'}: tool.eskit is not a table")
            return folder / "pyproject.toml", section
    raise ProjectError(
        f"No eskit project in {start} or above it",
        code="PROJECT_NOT_FOUND",
        hint="Start one: eskit new project NAME",
    )


def _read_toml(file: Path) -> dict[str, object] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"{file} is not valid TOML: {error}", hint=f"Correct {file.name} at that place."
        ) from error
    except OSError as error:
        raise ProjectError(
            f"{file} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def _checked(name: str, value: object, *, file: Path) -> tuple[str, ...]:
    if name not in DEFAULTS:
        nearest = find_nearest(name, DEFAULTS)
        raise ProjectError(
            f"{file}: eskit has no setting {name!r}",
            hint=f"Did you mean {nearest!r}?"
            if nearest
            else f"The settings are {', '.join(DEFAULTS)}.",
        )
    if name in _QUANTITIES:
        return (_checked_name(name, _checked_quantity(name, value, file=file), file=file),)
    values = value if name in _LISTS and isinstance(value, list) else [value]
    texts = tuple(text for text in values if isinstance(text, str) and text)
    if not (texts or not DEFAULTS[name]) or len(texts) != len(values):
        wanted = _LISTS.get(name, "a text")
        raise ProjectError(
            f"{file}: {name} = {value!r} is not {wanted}", hint=f"For example {_EXAMPLES[name]}"
        )
    if name in _NAMES:
        return (_checked_name(name, texts[0], file=file),)
    return texts


def _checked_name(name: str, text: str, *, file: Path) -> str:
    is_possible, what = _NAMES.get(name, (bool, ""))
    if not is_possible(text):
        raise ProjectError(
            f"{file}: {name} = {text!r} cannot be used",
            hint=f"{what.rstrip('.')}. For example {_EXAMPLES[name]}",
        )
    return text


def _checked_quantity(name: str, value: object, *, file: Path) -> str:
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    try:
        _QUANTITIES[name](text)
    except InvalidArgument as error:
        raise ProjectError(
            f"{file}: {name} = {value!r} cannot be used: {error.message}",
            hint=f"For example {_EXAMPLES[name]}",
        ) from error
    return text
