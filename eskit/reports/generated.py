"""What generating and scaffolding write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eskit.codegen.generate import GenResult
    from eskit.scaffold.plan import Plan


def written_object(result: GenResult) -> dict[str, object]:
    """Which generated files were written, removed and left."""
    return {
        "written": [str(path) for path in result.written],
        "removed": [str(path) for path in result.removed],
        "unchanged": [str(path) for path in result.unchanged],
    }


def checked_object(result: GenResult) -> dict[str, object]:
    """Which generated files are not up to date, and why."""
    return {
        "missing": [str(path) for path in result.missing],
        "stale": [str(path) for path in result.stale],
        "edited": [str(path) for path in result.edited],
    }


def plan_object(plan: Plan, *, dry_run: bool) -> dict[str, object]:
    """The files of a plan, the methods that existing files lack, and the next steps."""
    return {
        "root": str(plan.root),
        "files": [str(file.path) for file in plan.files],
        "created": not dry_run,
        "missing": [
            {
                "file": str(missing.path.relative_to(plan.root)),
                "methods": list(missing.methods),
                "imports": list(missing.imports),
                "code": missing.code,
            }
            for missing in plan.missing
        ],
        "next_steps": list(plan.next_steps),
    }
