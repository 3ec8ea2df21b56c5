"""Finding a method by what somebody typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eskit.domain.services import Method, ServiceType
from eskit.errors import NotFound
from eskit.text.suggestions import suggestion

HANDLER_HINT = "Give the app one: App(queries=[…]), or services=[register_…(…)] for commands."


def no_handler(service: ServiceType) -> str:
    """That the protos declare a service and the app has nothing that answers it."""
    return f"Nothing in the app answers {service.name}, which its protos declare."


def resolve_method(
    methods: Mapping[str, Method], text: str, *, unanswered: Iterable[ServiceType] = ()
) -> Method:
    """The method called ``package.Service/Method`` (or with a dot before the method).

    `methods` are by full name. Raises NotFound with the nearest name for an unknown one, and says
    so of one that is declared and has no handler.
    """
    name = text.replace("/", ".")
    method = methods.get(name)
    if method is not None:
        return method
    for service in unanswered:
        if name in {declared.full_name for declared in service.methods}:
            raise NotFound(no_handler(service).removesuffix("."), hint=HANDLER_HINT)
    if not methods:
        raise NotFound(
            f"No method {text!r}: there are none yet",
            hint="Declare it in a proto, and add aggregates=[…] or queries=[…] to App(…).",
        )
    known = [method.path for method in methods.values()]
    raise NotFound(f"No method {text!r}", hint=suggestion(text, known, "Methods"))
