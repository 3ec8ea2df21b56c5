"""Finding a method by what somebody typed."""

from __future__ import annotations

from collections.abc import Mapping

from eskit.domain.services import Method
from eskit.domain.suggestions import suggestion
from eskit.errors import NotFound


def find_method(methods: Mapping[str, Method], text: str) -> Method:
    """The method called ``package.Service/Method`` (or with a dot before the method).

    `methods` are by full name. Raises NotFound with the nearest name for an unknown one.
    """
    method = methods.get(text.replace("/", "."))
    if method is None:
        known = [method.path for method in methods.values()]
        raise NotFound(f"No method {text!r}", hint=suggestion(text, known, "Methods"))
    return method
