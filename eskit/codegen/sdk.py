"""Which services come together in one attribute of the SDK."""

from __future__ import annotations

from eskit.codegen import names
from eskit.codegen.model import Aggregate, Schema, SdkGroup, Service


def sdk_groups(schema: Schema) -> list[SdkGroup]:
    """One group for each aggregate, with an event or not; then services bound to none, by name.

    ``ReportQueryService`` and ``ReportCommandService`` without an aggregate are one group, and
    join the aggregate called Report if there is one.
    """
    aggregates: dict[str, list[Aggregate]] = {}
    services: dict[str, list[Service]] = {}
    titles: dict[str, str] = {}
    for aggregate in schema.aggregates:
        attribute = names.attribute(names.snake_case(aggregate.name))
        titles.setdefault(attribute, aggregate.name)
        aggregates.setdefault(attribute, []).append(aggregate)
        services.setdefault(attribute, []).extend(aggregate.services)
    for service in schema.services:
        if service.aggregate:
            continue
        base = _without_suffix(service.name)
        attribute = names.attribute(names.snake_case(base))
        titles.setdefault(attribute, base)
        services.setdefault(attribute, []).append(service)
    return [
        SdkGroup(
            attribute=attribute,
            client=f"{titles[attribute]}Client",
            aggregates=tuple(aggregates.get(attribute, ())),
            services=tuple(services[attribute]),
            doc=f"Every command and query of {titles[attribute]}.",
        )
        for attribute in titles
    ]


def _without_suffix(name: str) -> str:
    for suffix in ("Service", "Command", "Query"):
        name = name.removesuffix(suffix) or name
    return name
