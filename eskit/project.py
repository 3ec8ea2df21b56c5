"""The user's project on disk: where it is, what its settings are, and its application object.

Settings come, later ones winning, from the defaults, from ``[tool.eskit]`` in pyproject.toml
(or eskit.toml with the same keys at top level), from ESKIT_STORE and ESKIT_NATS, and from
options. Each keeps where it came from, so that the command line can show it.
"""

from __future__ import annotations

import difflib
import importlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from eskit.domain.quantities import parse_duration, parse_number, parse_size
from eskit.errors import EskitError, InvalidArgument, ProjectInvalid, ProjectNotFound

if TYPE_CHECKING:
    from eskit.app import App

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "app": ("",),
    "proto": ("proto",),
    "gen": ("",),
    "store": ("sqlite:///events.db",),
    "read_models": ("",),
    "nats": ("embedded",),
    "nats_stream": ("EVENTS",),
    "nats_prefix": ("events",),
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

Without `gen` code goes to ``gen`` in the app's package, without `read_models` they lie beside the
store, wherever that is.
"""

ENVIRONMENT: Mapping[str, str] = {"ESKIT_STORE": "store", "ESKIT_NATS": "nats"}
"""The environment variables that override a setting."""

_EXAMPLES: Mapping[str, str] = {
    "app": 'app = "bank.app:app"',
    "proto": 'proto = ["proto"]',
    "gen": 'gen = "bank/gen"',
    "store": 'store = "sqlite:///bank.db"',
    "read_models": 'read_models = "sqlite:///bank_read.db"',
    "nats": 'nats = "nats://localhost:4222"',
    "nats_stream": 'nats_stream = "EVENTS"',
    "nats_prefix": 'nats_prefix = "events"',
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

_QUANTITIES: Mapping[str, Callable[[str], object]] = {
    "nats_max_age": parse_duration,
    "nats_max_bytes": parse_size,
    "nats_replicas": parse_number,
    "nats_duplicate_window": parse_duration,
    "nats_server_port": parse_number,
}
"""The settings that are more than text, and what reads them; a plain number need not be quoted."""

_SQLITE = "sqlite:///"
_USER_IN_URL = re.compile(r"://[^/]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting and where it came from; only `proto` may have several values.

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
        return _USER_IN_URL.sub("://…@", self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An eskit project: its folder and its settings.

    `file` is the file the settings were read from.
    """

    root: Path
    file: Path
    settings: Mapping[str, Setting]

    @property
    def app(self) -> str:
        """The application object as ``module:attribute``; empty when the project has none."""
        return self._text("app")

    @property
    def package(self) -> str:
        """The import package of the app, such as ``bank``; empty without an app."""
        return self.app.partition(":")[0].partition(".")[0]

    @property
    def package_path(self) -> Path:
        """The folder of the package; ProjectInvalid without an app."""
        if not self.package:
            raise ProjectInvalid(
                f"{self.file} names no app, so there is no package to put code in",
                hint='Set app = "package.app:app" first.',
            )
        return self._base() / self.package

    @property
    def gen_package(self) -> str:
        """The package that generated code is imported from; ProjectInvalid if there is none."""
        base = self._base()
        if not self.gen_path.is_relative_to(base):
            raise ProjectInvalid(
                f"{self.file}: gen is {self.gen_path}, which nothing can import",
                hint=f"Choose a folder below {base}.",
            )
        return ".".join(self.gen_path.relative_to(base).parts)

    @property
    def proto_paths(self) -> tuple[Path, ...]:
        """The folders that proto imports are relative to."""
        return tuple(self.root / folder for folder in self.settings["proto"].values)

    @property
    def gen_path(self) -> Path:
        """The folder that generated code goes to."""
        configured = self._text("gen")
        return self.root / configured if configured else self._base() / self.package / "gen"

    @property
    def store(self) -> str:
        """The URL of the event store; a SQLite path in it is absolute."""
        return _absolute(self._text("store"), self.root)

    @property
    def read_models(self) -> str:
        """The URL of the read models; a SQLite path in it is absolute."""
        from eskit.projections.engine import beside

        configured = self._text("read_models")
        return _absolute(configured, self.root) if configured else beside(self.store)

    @property
    def nats(self) -> str:
        """``embedded``, or the URL of a NATS server."""
        return self._text("nats")

    @property
    def nats_stream(self) -> str:
        """The JetStream stream that the relay publishes to."""
        return self._text("nats_stream")

    @property
    def nats_prefix(self) -> str:
        """The first token of every event's subject."""
        return self._text("nats_prefix")

    @property
    def nats_credentials(self) -> Path | None:
        """The file with the login for NATS, if one is set; who may read it is not checked."""
        return self._path("nats_credentials")

    @property
    def nats_ca(self) -> Path | None:
        """The authority that the NATS server's certificate is from, if one is set."""
        return self._path("nats_ca")

    @property
    def nats_cert(self) -> Path | None:
        """The certificate to show to the NATS server, if one is set."""
        return self._path("nats_cert")

    @property
    def nats_key(self) -> Path | None:
        """The key of that certificate, if one is set."""
        return self._path("nats_key")

    @property
    def nats_max_age(self) -> timedelta | None:
        """After how long JetStream may throw an event away; None leaves it to the server."""
        text = self._text("nats_max_age")
        return parse_duration(text) if text else None

    @property
    def nats_max_bytes(self) -> int | None:
        """Beyond how many bytes JetStream throws the oldest away; None leaves it to the server."""
        text = self._text("nats_max_bytes")
        return parse_size(text) if text else None

    @property
    def nats_replicas(self) -> int | None:
        """On how many servers of a cluster events are kept; None leaves it to the server."""
        text = self._text("nats_replicas")
        return parse_number(text) if text else None

    @property
    def nats_duplicate_window(self) -> timedelta | None:
        """For how long JetStream knows an event id again; None leaves it to the relay."""
        text = self._text("nats_duplicate_window")
        return parse_duration(text) if text else None

    @property
    def nats_server_port(self) -> int | None:
        """The port of the embedded server; None for a free one."""
        text = self._text("nats_server_port")
        return parse_number(text) if text else None

    @property
    def nats_server_cert(self) -> Path | None:
        """The certificate that the embedded server shows, if it is to speak TLS."""
        return self._path("nats_server_cert")

    @property
    def nats_server_key(self) -> Path | None:
        """The key of that certificate, if one is set."""
        return self._path("nats_server_key")

    @property
    def nats_server_ca(self) -> Path | None:
        """The authority whose certificates the embedded server demands from clients, if any."""
        return self._path("nats_server_ca")

    @property
    def state_dir(self) -> Path:
        """Where eskit keeps what is of this machine only, such as locks; may not exist yet."""
        return self.root / ".eskit"

    def import_paths(self) -> list[Path]:
        """What has to come first on ``sys.path`` for the project's code to be importable."""
        return [self._base()]

    def _base(self) -> Path:
        """The folder that holds the package: ``src`` if it is there, else the root."""
        in_src = self.root / "src"
        return in_src if self.package and (in_src / self.package).is_dir() else self.root

    def _path(self, name: str) -> Path | None:
        text = self._text(name)
        return self.root / text if text else None

    def _text(self, name: str) -> str:
        return self.settings[name].text


def find_project(start: Path) -> Project:
    """The project that `start` is in, with the settings its files give.

    Raises ProjectNotFound and ProjectInvalid, as `load_project` does.
    """
    return load_project(start, environ={}, overrides={})


def load_project(
    start: Path, *, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> Project:
    """The project that `start` is in: the nearest folder, upwards, that has settings.

    `overrides` are options by setting name; empty ones count as not given, in `environ` too.
    Raises ProjectNotFound, and ProjectInvalid naming the file and the key.
    """
    file, table = _find_settings(start)
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
    return Project(root=file.parent, file=file, settings=settings)


def load_app(project: Project) -> App:
    """Import the project's application object.

    The caller has put `Project.import_paths` on ``sys.path``. Raises ProjectInvalid when there is
    none, its module does not import, or it is not an App.
    """
    from eskit.app import App

    module_name, _, attribute = project.app.partition(":")
    if not project.app:
        raise ProjectInvalid(
            f"{project.file} names no app",
            hint='Set app = "package.app:app" to the App object of the project.',
        )
    if not attribute or not module_name:
        raise ProjectInvalid(
            f"{project.file}: app = {project.app!r} is not of the form 'module:attribute'",
            hint='For example app = "bank.app:app".',
        )
    found = getattr(_import_module(project, module_name), attribute, None)
    if found is None:
        raise ProjectInvalid(
            f"{module_name} has no attribute {attribute!r}, which {project.file.name} names",
            hint=f"Define {attribute} = App(…) there, or correct app in {project.file.name}.",
        )
    if not isinstance(found, App):
        raise ProjectInvalid(
            f"{project.app} is of type {type(found).__name__}, not an eskit App",
            hint=f'Make it one: {attribute} = App("{project.package}", aggregates=[…])',
        )
    return found


def _import_module(project: Project, name: str) -> object:
    try:
        return importlib.import_module(name)
    except EskitError:
        raise
    except ImportError as error:
        raise ProjectInvalid(
            f"Cannot import {name}: {error}", hint=_import_hint(project, error.name or name)
        ) from error
    except Exception as error:
        from eskit.schema.loading import explain

        if explained := explain(error):
            raise explained from error
        raise ProjectInvalid(
            f"Cannot import {name}: {type(error).__name__}: {error}",
            hint="Mend the error in the project's code; --debug shows the traceback.",
        ) from error


def _import_hint(project: Project, failed: str) -> str:
    for folder in project.import_paths():
        if folder.joinpath(*failed.split(".")).is_relative_to(project.gen_path):
            return "Generate the code: eskit gen"
    if f"{project.app.partition(':')[0]}.".startswith(f"{failed}."):
        return f"Check app = {project.app!r} in {project.file}."
    return f"Install {failed.partition('.')[0]!r} into this environment, or correct the import."


def _find_settings(start: Path) -> tuple[Path, Mapping[str, object]]:
    start = start.resolve()
    for folder in (start, *start.parents):
        own = _read_toml(folder / "eskit.toml")
        pyproject = _read_toml(folder / "pyproject.toml")
        tool = (pyproject or {}).get("tool")
        section = tool.get("eskit") if isinstance(tool, dict) else None
        if own is not None and section is not None:
            raise ProjectInvalid(
                f"{folder} has settings in eskit.toml and in pyproject.toml",
                hint="Keep one: move [tool.eskit] into eskit.toml, or the other way round.",
            )
        if own is not None:
            return folder / "eskit.toml", own
        if section is not None:
            if not isinstance(section, dict):
                raise ProjectInvalid(f"{folder / 'pyproject.toml'}: tool.eskit is not a table")
            return folder / "pyproject.toml", section
    raise ProjectNotFound(
        f"No eskit project in {start} or above it", hint="Start one: eskit new project NAME"
    )


def _read_toml(file: Path) -> dict[str, object] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectInvalid(
            f"{file} is not valid TOML: {error}", hint=f"Correct {file.name} at that place."
        ) from error
    except OSError as error:
        raise ProjectInvalid(
            f"{file} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def _checked(name: str, value: object, *, file: Path) -> tuple[str, ...]:
    if name not in DEFAULTS:
        nearest = difflib.get_close_matches(name, DEFAULTS, n=1)
        raise ProjectInvalid(
            f"{file}: eskit has no setting {name!r}",
            hint=f"Did you mean {nearest[0]!r}?"
            if nearest
            else f"The settings are {', '.join(DEFAULTS)}.",
        )
    if name in _QUANTITIES:
        return (_checked_quantity(name, value, file=file),)
    values = value if name == "proto" and isinstance(value, list) else [value]
    texts = tuple(text for text in values if isinstance(text, str) and text)
    if not texts or len(texts) != len(values):
        wanted = "a list of folders" if name == "proto" else "a text"
        raise ProjectInvalid(
            f"{file}: {name} = {value!r} is not {wanted}", hint=f"For example {_EXAMPLES[name]}"
        )
    return texts


def _checked_quantity(name: str, value: object, *, file: Path) -> str:
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    try:
        _QUANTITIES[name](text)
    except InvalidArgument as error:
        raise ProjectInvalid(
            f"{file}: {name} = {value!r} cannot be used: {error.message}",
            hint=f"For example {_EXAMPLES[name]}",
        ) from error
    return text


def _absolute(url: str, root: Path) -> str:
    """In a URL the path is percent-encoded, so the root has to be as well."""
    if not url.startswith(_SQLITE) or url.startswith(_SQLITE + "/"):
        return url
    encoded = root.as_posix().translate({ord(c): quote(c) for c in "%?#"})
    return f"{_SQLITE}{encoded}/{url.removeprefix(_SQLITE)}"
