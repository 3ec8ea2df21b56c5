"""Checks of eskit, one session each: ``nox`` runs the usual ones, ``nox --list`` shows them all.

``nox --no-venv -s lint types`` runs sessions in the current environment, which then needs
``pip install -e '.[dev]'``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

PYTHONS = ("3.11", "3.12", "3.13")

# Pure functions, rules and values.
QUICK = (
    *("tests/domain", "tests/schema", "tests/testing", "tests/test_project.py"),
    *("tests/test_errors.py", "tests/test_layers.py", "tests/test_public_api.py"),
    *(f"tests/cli/test_{name}.py" for name in ("text", "times", "fitting", "values")),
)

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types", "generated", "docs", "package"]
nox.options.error_on_missing_interpreters = True


def _activate_pyenv() -> None:
    """Let pyenv's shims answer for every version it has, not only for the global one."""
    if "PYENV_VERSION" in os.environ or not shutil.which("pyenv"):
        return
    command = ["pyenv", "versions", "--bare", "--skip-aliases"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    versions = [line for line in result.stdout.split() if line.startswith(PYTHONS)]
    if versions:
        os.environ["PYENV_VERSION"] = ":".join([*versions, "system"])


def _runs(python: str) -> bool:
    command = [f"python{python}", "--version"]
    return (
        bool(shutil.which(command[0]))
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def _install(session: nox.Session, *requirements: str) -> None:
    """Install into the session's environment; without one the requirements are there already."""
    if session.venv_backend != "none":
        session.install(*requirements)


_activate_pyenv()
HERE = [python for python in PYTHONS if _runs(python)]


@nox.session(python=HERE)
def tests(session: nox.Session) -> None:
    """Run the tests on every supported Python found; arguments go to pytest."""
    _install(session, "-e", ".[test]")
    session.run("pytest", *(session.posargs or ["-n", "auto"]))


@nox.session
def quick(session: nox.Session) -> None:
    """Style, and the tests that need no server and no second process: under 20 seconds."""
    _install(session, "-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("pytest", "-q", "-n", "auto", *QUICK)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, import layers, spelling, and the ground rules of the tree."""
    _install(session, "-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-logo")
    session.run("codespell")
    session.run("pytest", "-q", "tests/test_checkout.py", "tests/test_layers.py")


@nox.session
def types(session: nox.Session) -> None:
    """Type-check eskit, what users write against it, and what it generates."""
    _install(session, "-e", ".[dev]")
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pytest", "-q", "tests/codegen/test_typing.py")


@nox.session
def generated(session: nox.Session) -> None:
    """Generate again what is generated and committed: nothing may differ."""
    (protoc,) = (bound for bound in _lower_bounds() if bound.startswith("grpcio-tools=="))
    _install(session, "-e", ".[test]", f"{protoc}.*")
    session.run("python", "-m", "tests.generated", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every command and snippet of README.md and docs/ and compare what they print."""
    _install(session, "-e", ".[test]")
    session.run("pytest", "-q", "tests/docs")
    session.run("python", "-m", "tests.generated", "--check", "docs/cli.md", "docs/evidence.md")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel from the sdist and do what the docs show with it, outside the checkout."""
    if session.venv_backend == "none":
        session.error("package needs an environment of its own")
    folder = Path(session.create_tmp()).resolve()
    dist, venv = folder / "dist", folder / "venv"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(dist), ".")
    (wheel,) = dist.glob("*.whl")
    session.run("python", "-m", "tests.packaging", *map(str, dist.iterdir()))
    session.run("python", "-m", "venv", "--clear", str(venv))
    session.run(str(venv / "bin" / "pip"), "install", "--quiet", f"{wheel}[test]", external=True)
    # Run in folders for temporary files; together they use each kind of template.
    documents = ("docs/tutorial.md", "README.md", "docs/projections.md")
    session.run("python", "-m", "tests.docs", *documents, "--bin", str(venv / "bin"))


def _lower_bounds() -> list[str]:
    """``name==bound`` for every dependency, from the bounds in pyproject.toml."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    constraints = []
    for text in project["dependencies"]:
        requirement = Requirement(text)
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        constraints += [f"{requirement.name}=={bound}" for bound in bounds]
    return constraints


@nox.session(python=HERE[:1])
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that pyproject.toml allows."""
    if session.venv_backend == "none":
        session.error("lowest needs an environment of its own")
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(_lower_bounds()) + "\n", encoding="utf-8")
    session.install("--constraint", str(constraints), "-e", ".[test]")
    session.run("pytest", *(session.posargs or ["-n", "auto"]))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure eskit against floors taken in the same run; fails when a target is missed."""
    _install(session, "-e", ".[bench]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run 100,000 schedules of the simulation, or --schedules N; or kill processes: kills.

    ``nox -s soak -- kills`` kills writers, projections, relays and PostgreSQL servers a thousand
    times, and follows a million events; the usual tests do it thirty times. Further arguments go
    to the simulation or to pytest.
    """
    _install(session, "-e", ".[test]")
    if session.posargs[:1] != ["kills"]:
        session.run("python", "-m", "tests.simulation", "--schedules", "100000", *session.posargs)
        return
    faults = (
        "tests/store/faults",
        "tests/postgres/test_faults.py",
        "tests/projections/test_kill.py",
        "tests/messaging/test_faults.py",
    )
    often = {"ESKIT_TEST_KILLS": "1000", "ESKIT_TEST_EVENTS": "1000000"}
    session.run("pytest", *faults, *session.posargs[1:], env=often)
