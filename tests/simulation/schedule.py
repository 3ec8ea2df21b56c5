"""Schedules: what is done in a world, in which order; from a seed, or as they were printed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.bank import COMMANDS, PROJECTIONS

_TROUBLE = 0.12
"""How often several steps belong together."""
_ERASURE = 0.02
"""How often a stream is erased between two rebuilds."""
_AGING = 0.02
"""How often what was published ages out after the relay has ended in the middle."""
_REACTS = 0.35
"""In how many of the worlds there is a reaction."""


@dataclass(slots=True)
class Step:
    """Something to be done: by the server, or by another process during a step of the server.

    `during` has steps with the point at which each comes in: how many looks at store, read model
    and clock go before it. `crash` says before or after which commit the process dies.
    """

    do: str
    args: dict[str, Any] = field(default_factory=dict)
    during: list[tuple[int, Step]] = field(default_factory=list)
    crash: tuple[int, Any] | None = None

    @property
    def text(self) -> str:
        """For people."""
        args = " ".join(f"{name}={value}" for name, value in self.args.items())
        crash = f" crash {self.crash[1]} commit {self.crash[0]}" if self.crash else ""
        return f"{self.do} {args}{crash}".strip()

    def as_json(self) -> dict[str, Any]:
        """For a replay."""
        found: dict[str, Any] = {"do": self.do, **self.args}
        if self.during:
            found["during"] = [[at, step.as_json()] for at, step in self.during]
        if self.crash:
            found["crash"] = list(self.crash)
        return found

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Step:
        """The other way round."""
        args = {
            name: value for name, value in data.items() if name not in {"do", "during", "crash"}
        }
        during = [(at, cls.from_json(step)) for at, step in data.get("during", ())]
        crash = data.get("crash")
        return cls(data["do"], args, during, tuple(crash) if crash else None)


@dataclass(slots=True)
class Schedule:
    """The steps of one run, and the world it is to be run in."""

    seed: int
    config: dict[str, Any]
    steps: list[Step]

    def dump(self) -> str:
        """As text that `load` understands: a step a line."""
        lines = ",\n  ".join(json.dumps(step.as_json()) for step in self.steps)
        config = json.dumps(self.config)
        return f'{{"seed": {self.seed},\n "config": {config},\n "steps": [\n  {lines}]}}'

    @classmethod
    def load(cls, text: str) -> Schedule:
        """What was dumped."""
        data = json.loads(text)
        steps = [Step.from_json(step) for step in data["steps"]]
        return cls(data["seed"], data["config"], steps)


def generate(seed: int) -> Schedule:
    """The schedule of a seed; the same for ever."""
    maker = _Maker(random.Random(seed))
    return Schedule(seed, maker.config(), maker.steps())


class _Maker:
    """Makes up a schedule: every number in it is drawn from one source."""

    def __init__(self, source: random.Random) -> None:
        self._draw = source
        self._reacts = source.random() < _REACTS
        self._commands = 0
        self._appends: list[dict[str, Any]] = []
        self._outer: tuple[tuple[int, Callable[[], Step]], ...] = (
            (14, self._append),
            (14, self._command),
            (20, self._run),
            (6, self._serve),
            (14, self._fault),
            (2, self._mend),
            (4, self._away),
            (4, self._pass),
            (1, self._date),
            (2, self._restart),
            (6, self._skip),
            (7, self._retry),
            (2, self._pause),
            (4, self._resume),
            (1, self._checkpoint),
            (5, self._rebuild),
            (2, self._diff),
            (5, self._relay),
            (2, self._publish),
            (4, self._mishap),
            (1, self._age),
            (12 if self._reacts else 0, self._react),
            (4 if self._reacts else 0, self._decide),
            (2, self._snapshot),
            (1, self._erase),
            (1, self._refuse),
            (1, self._pass_over),
        )
        self._inner: tuple[tuple[int, Callable[[], Step]], ...] = (
            (10, self._append),
            (6, self._command),
            (2, self._plain_run),
            (3, self._mend),
            (4, self._away),
            (4, self._skip),
            (3, self._retry),
            (2, self._pause),
            (3, self._resume),
            (1, self._checkpoint),
            (2, self._plain_rebuild),
            (2, self._plain_relay),
            (1, self._mishap),
            (1, self._arrive),
            (2 if self._reacts else 0, self._plain_react),
            (2 if self._reacts else 0, self._decide),
            (1, self._erase),
            (1, self._pass_over),
        )

    def config(self) -> dict[str, Any]:
        """What kind of world it is."""
        draw = self._draw
        policies = {
            name: {
                "then": then,
                "retries": draw.choice((0, 1, 2, 3)),
                "first_wait": draw.choice((0.0, 0.01, 0.05, 0.5)),
            }
            for name, then in zip(
                PROJECTIONS, ("stop", "set_aside_event", "set_aside_stream"), strict=True
            )
        }
        if draw.random() < 0.4:
            for policy in policies.values():
                policy["then"] = draw.choice(("stop", "set_aside_event", "set_aside_stream"))
        return {
            "reaction": self._reacts,
            "keep": draw.random() < 0.8,
            "effects": draw.random() < 0.25,
            "snapshots": draw.choice((0, 0, 0, 1, 2, 3)),
            "exports": draw.random() < 0.1,
            "store": "sqlite" if draw.random() < 0.15 else "memory",
            "tick": draw.choice((0.0, 1e-6, 1e-4)),
            "pace": draw.choice((0.0, 0.001, 0.01, 0.03, 0.06)),
            "slow": draw.choice((0.1, 0.3, 2.0)),
            "policies": policies,
        }

    def steps(self) -> list[Step]:
        """What is done in it."""
        draw = self._draw
        steps: list[Step] = []
        for _ in range(draw.randint(6, 20)):
            chance = draw.random()
            if chance < _TROUBLE:
                steps += self._trouble()
            elif chance < _TROUBLE + _ERASURE:
                steps += self._erasure()
            elif chance < _TROUBLE + _ERASURE + _AGING:
                steps += self._aging()
            else:
                steps.append(self._pick(self._outer))
        return steps

    def _trouble(self) -> list[Step]:
        """An event whose handler raises for long, and what is decided about that."""
        draw, name = self._draw, self._name()
        fault = self._fault()
        fault.args |= {"name": name, "ahead": draw.choice((0, 0, 1)), "times": 1000}
        run = self._run()
        run.args |= {"names": sorted({*run.args["names"], name})}
        decide = draw.choice((self._skip, self._skip, self._retry))()
        decide.args |= {"name": name, "which": 0}
        steps = [fault, self._append(), run, decide]
        if draw.random() < 0.5:
            steps.insert(3, Step("mend", {"name": name}))
        if draw.random() < 0.4:
            rebuild = self._rebuild()
            rebuild.args |= {"name": name}
            steps.append(rebuild)
        return steps

    def _erasure(self) -> list[Step]:
        """A rebuild that does not come to its end, a stream erased meanwhile, another rebuild."""
        append, rebuild, again = self._append(), self._rebuild(), self._rebuild()
        rebuild.crash = self._crash(4, 1.0)
        again.args |= {"name": rebuild.args["name"]}
        erase = Step("erase", {"account": append.args["account"]})
        return [append, self._run(), rebuild, erase, again]

    def _aging(self) -> list[Step]:
        """A relay that ends in the middle, and next to nothing to tell how far it has come."""
        relay, again = self._plain_relay(), self._plain_relay()
        relay.args["batch"] = self._draw.choice((1, 2))
        relay.crash = self._crash(6, 1.0)
        return [self._append(), self._append(), relay, Step("age"), again]

    def _pick(self, kinds: tuple[tuple[int, Callable[[], Step]], ...]) -> Step:
        weights = [weight for weight, _ in kinds]
        ((_, make),) = self._draw.choices(kinds, weights)
        return make()

    def _name(self) -> str:
        return self._draw.choice(PROJECTIONS)

    def _append(self) -> Step:
        draw = self._draw
        if self._appends and draw.random() < 0.15:
            args = {**draw.choice(self._appends[-3:]), "expect": draw.choice(("any", "right"))}
        else:
            args = {
                "account": draw.randrange(4),
                "events": draw.choice((1, 1, 2, 3, 8)),
                "expect": draw.choices(("any", "right", "stale"), (6, 3, 1))[0],
            }
            if draw.random() < 0.2:
                args["old"] = True
            if draw.random() < 0.4:
                args["number"] = len(self._appends) + 1
                self._appends.append(args)
        return Step("append", args, crash=self._crash(1, 0.1))

    def _command(self) -> Step:
        draw = self._draw
        again = self._commands and draw.random() < 0.3
        number = draw.randint(max(1, self._commands - 3), self._commands) if again else 0
        if not number:
            self._commands += 1
            number = self._commands
        # A command that is sent again is nearly always the same.
        told = random.Random(number if draw.random() < 0.9 else -number)
        args = {
            "number": number,
            "kind": told.choice(sorted(COMMANDS)),
            "account": told.randrange(4),
            "amount": told.randint(1, 20),
        }
        return Step("command", args, crash=self._crash(1, 0.1))

    def _crash(self, most: int, chance: float) -> tuple[int, str] | None:
        draw = self._draw
        if draw.random() >= chance:
            return None
        return draw.randint(1, most), draw.choice(("before", "after"))

    def _during(self, most: int, points: int, chance: float) -> list[tuple[int, Step]]:
        draw = self._draw
        if draw.random() >= chance:
            return []
        return [
            (draw.randint(1, points), self._pick(self._inner)) for _ in range(draw.randint(1, most))
        ]

    def _plain_run(self) -> Step:
        draw = self._draw
        names = sorted(draw.sample(PROJECTIONS, draw.choice((1, 2, 3, 3, 3))))
        args = {
            "names": names,
            "events": draw.choice((1, 2, 3, 5, 10, 2000)),
            "seconds": draw.choice((0.0, 0.02, 0.25, 1.0)),
        }
        return Step("run", args, crash=self._crash(6, 0.2))

    def _run(self) -> Step:
        step = self._plain_run()
        step.during = self._during(3, 40, 0.4)
        return step

    def _serve(self) -> Step:
        draw = self._draw
        args = {"seconds": draw.choice((1.0, 3.0, 8.0)), "events": draw.choice((2, 5, 2000))}
        step = Step("serve", args, crash=self._crash(10, 0.2))
        step.during = self._during(5, 60, 0.9)
        return step

    def _fault(self) -> Step:
        draw = self._draw
        args = {
            "name": draw.choice(
                (*PROJECTIONS, *(["reward"] * 2 if self._reacts else []), "effects")
            ),
            "ahead": draw.choice((0, 0, 0, 1, 2, 4)),
            "kind": draw.choice(("before", "after", "after", "exit", "constraint", "slow")),
            "times": draw.choice((1, 2, 3, 5, 1000, 1000)),
        }
        return Step("fault", args)

    def _mend(self) -> Step:
        return Step("mend", {"name": self._name()})

    def _away(self) -> Step:
        draw = self._draw
        args = {
            "part": draw.choice(("store", "read model", "broker")),
            "calls": draw.choice((1, 2, 5)),
        }
        return Step("away", args)

    def _pass(self) -> Step:
        return Step("pass", {"seconds": self._draw.choice((0.01, 0.1, 1.0, 10.0, 3600.0))})

    def _date(self) -> Step:
        return Step("date", {"seconds": self._draw.choice((-3600.0, -1.0, 60.0, 86400.0))})

    def _restart(self) -> Step:
        return Step("restart")

    def _skip(self) -> Step:
        args = {"name": self._name(), "which": self._draw.randrange(4)}
        return Step("skip", args, crash=self._crash(1, 0.05))

    def _retry(self) -> Step:
        args = {"name": self._name(), "which": self._draw.choice((0, 0, 0, 1, 2))}
        return Step("retry", args, crash=self._crash(3, 0.25))

    def _pause(self) -> Step:
        return Step("pause", {"name": self._name()}, crash=self._crash(1, 0.05))

    def _resume(self) -> Step:
        return Step("resume", {"name": self._name()}, crash=self._crash(1, 0.05))

    def _checkpoint(self) -> Step:
        part = self._draw.choice((0.0, 0.3, 0.5, 0.9, 1.0))
        return Step("checkpoint", {"name": self._name(), "part": part}, crash=self._crash(1, 0.1))

    def _plain_rebuild(self) -> Step:
        args = {"name": self._name(), "in_place": self._draw.random() < 0.25}
        return Step("rebuild", args, crash=self._crash(4, 0.25))

    def _rebuild(self) -> Step:
        step = self._plain_rebuild()
        step.during = self._during(3, 30, 0.5)
        return step

    def _diff(self) -> Step:
        step = Step("diff", {"name": self._name()}, crash=self._crash(3, 0.1))
        step.during = self._during(2, 20, 0.5)
        return step

    def _plain_relay(self) -> Step:
        args = {"batch": self._draw.choice((1, 2, 5, 1000))}
        return Step("relay", args, crash=self._crash(4, 0.2))

    def _relay(self) -> Step:
        step = self._plain_relay()
        step.during = self._during(3, 20, 0.4)
        return step

    def _publish(self) -> Step:
        draw = self._draw
        args = {"batch": draw.choice((1, 3, 1000)), "seconds": draw.choice((1.0, 4.0))}
        step = Step("publish", args, crash=self._crash(5, 0.2))
        step.during = self._during(4, 40, 0.8)
        return step

    def _mishap(self) -> Step:
        draw = self._draw
        kinds = draw.choices(("lost", "part", "late", "gone", ""), k=draw.choice((1, 1, 2, 3)))
        return Step("mishap", {"kinds": kinds})

    def _snapshot(self) -> Step:
        return Step("snapshot", {"account": self._draw.randrange(4)}, crash=self._crash(1, 0.1))

    def _erase(self) -> Step:
        return Step("erase", {"account": self._draw.randrange(4)}, crash=self._crash(1, 0.1))

    def _refuse(self) -> Step:
        return Step("refuse", {"ahead": self._draw.choice((0, 1, 3))})

    def _pass_over(self) -> Step:
        return Step("pass_over", crash=self._crash(1, 0.1))

    def _age(self) -> Step:
        return Step("age")

    def _arrive(self) -> Step:
        return Step("arrive")

    def _plain_react(self) -> Step:
        args = {"seconds": self._draw.choice((0.3, 2.0, 7.0))}
        return Step("react", args, crash=self._crash(6, 0.25))

    def _react(self) -> Step:
        step = self._plain_react()
        step.during = self._during(3, 60, 0.5)
        return step

    def _decide(self) -> Step:
        draw = self._draw
        args = {"which": draw.randrange(3), "skip": draw.random() < 0.4}
        return Step("decide", args, crash=self._crash(2, 0.1))
