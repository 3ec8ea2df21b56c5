"""Which services come together in one attribute of the SDK."""

from __future__ import annotations

from collections.abc import Sequence

from eskit.codegen.python import names
from eskit.codegen.reading.model import Aggregate, Schema, SdkGroup, Service


def sdk_groups(schema: Schema) -> list[SdkGroup]:
    """One group for each aggregate, with an event or not; then services bound to none, by name.

    ``ReportQueryService`` and ``ReportCommandService`` without an aggregate are one group, and
    join the aggregate called Report in their package if there is one. Of several packages with
    such services each has a group called after it, but for the only one that is not deprecated.
    """
    aggregates: dict[str, list[Aggregate]] = {}
    services: dict[str, list[Service]] = {}
    titles: dict[str, str] = {}
    for aggregate in schema.aggregates:
        attribute = names.attribute(names.snake_case(aggregate.name))
        titles.setdefault(attribute, aggregate.name)
        aggregates.setdefault(attribute, []).append(aggregate)
        services.setdefault(attribute, []).extend(aggregate.services)
    unbound: dict[str, list[Service]] = {}
    for service in schema.services:
        if not service.aggregate:
            unbound.setdefault(_attribute(service), []).append(service)
    for attribute, found in unbound.items():
        plain = _plain_package(found, aggregates.get(attribute, ()))
        for service in found:
            base = _without_suffix(service.name)
            own = attribute
            if service.package != plain:
                own = names.qualified(service.package, attribute)
                base = names.camel_case(service.package) + base
            titles.setdefault(own, base)
            services.setdefault(own, []).append(service)
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


def _attribute(service: Service) -> str:
    return names.attribute(names.snake_case(_without_suffix(service.name)))


def _plain_package(services: Sequence[Service], aggregates: Sequence[Aggregate]) -> str | None:
    """The package whose services are called by their name alone; None where no one package is."""
    packages = {aggregate.package for aggregate in aggregates}
    packages = packages or {service.package for service in services}
    if len(packages) > 1:
        packages = {service.package for service in services if not service.deprecated}
    return packages.pop() if len(packages) == 1 else None


def _without_suffix(name: str) -> str:
    for suffix in ("Service", "Command", "Query"):
        name = name.removesuffix(suffix) or name
    return name
