"""Handlers of services, and how they are bound to their rpcs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from eskit.domain.services import Method, ServiceType
from eskit.errors import EskitError, InvalidArgument, NotFound
from eskit.raised import is_ctrl_c
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.projections.projection import Projection


class QueryHandler(Protocol):
    """Base of generated query handlers."""

    __service__: ClassVar[ServiceType]
    reads: ClassVar[Sequence[Projection[Any]]] = ()
    """Projections that must be caught up for the answers to be true."""


class ServiceBinding(NamedTuple):
    """A service and, by rpc name, the callables that answer it."""

    service: ServiceType
    handlers: Mapping[str, Callable[[Any, Any], Any]]
    reads: Sequence[Projection[Any]] = ()

    def handler(self, method: Method) -> Callable[[Any, Any], Any]:
        """What answers one of the service's methods."""
        return self.handlers[method.name]


def bind(service: ServiceType, handler: object) -> ServiceBinding:
    """Find each rpc's method on `handler`; InvalidArgument names the first that is missing."""
    from inspect import iscoroutinefunction  # generated modules import this one

    handlers: dict[str, Callable[[Any, Any], Any]] = {}
    for method in service.methods:
        found = getattr(handler, method.python_name, None)
        if not callable(found):
            raise InvalidArgument(
                f"{type(handler).__name__} has no method {method.python_name} for {method.path}",
                hint="Write it, or derive from the generated handler class to be told by mypy.",
            )
        if iscoroutinefunction(found):
            raise InvalidArgument(
                f"{type(handler).__name__}.{method.python_name} is a coroutine function",
                hint="Handlers are plain functions; eskit runs each in a worker thread.",
            )
        handlers[method.name] = found
    return ServiceBinding(
        service=service, handlers=handlers, reads=tuple(getattr(handler, "reads", ()))
    )


def run_users(handler: Callable[..., Any], *arguments: Any) -> Any:
    """What the user's code returns. Whatever it raises is an error; only Ctrl-C interrupts."""
    try:
        return handler(*arguments)
    except BaseException as error:
        if isinstance(error, Exception) or is_ctrl_c(error):
            raise
        name = getattr(handler, "__qualname__", repr(handler))
        raise RuntimeError(f"{name} raised {type(error).__name__}") from error


def check_response(method: Method, response: object, answering: str) -> None:
    """Raise RESPONSE_INVALID unless a response is what the rpc declares."""
    if not isinstance(response, method.response):
        raise EskitError(
            f"{answering} returned {type(response).__name__}, not {method.response.__name__}",
            code="RESPONSE_INVALID",
            hint="Return the response message of the rpc.",
        )


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
