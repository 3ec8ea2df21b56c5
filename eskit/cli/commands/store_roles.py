"""``eskit store roles``: the script that gives roles their rights on a store in PostgreSQL."""

from __future__ import annotations

from typing import Annotated

import typer

from eskit.cli.session import session_of
from eskit.errors import Unsupported


def roles(
    context: typer.Context,
    owner: Annotated[
        str, typer.Option(metavar="NAME", help="Migrates, imports, erases and prunes.")
    ] = "",
    writer: Annotated[str, typer.Option(metavar="NAME", help="Appends, follows and reads.")] = "",
    reader: Annotated[str, typer.Option(metavar="NAME", help="Reads.")] = "",
) -> None:
    """Print the SQL that gives three roles what each needs of a store in PostgreSQL.

    Pipe it into psql as an administrator of the database. It creates missing roles, without a
    password, and changes no event. The roles are by default those of the schema: bank_owner,
    bank_writer and bank_reader for ?schema=bank.
    """
    from eskit.postgres.url import is_postgres, parse_url
    from eskit.store.open import locate
    from eskit.store.postgres.location import OPTIONS
    from eskit.store.postgres.roles import Roles, roles_script

    session = session_of(context)
    url = locate(session.store_url).url
    if not is_postgres(url):
        raise Unsupported(
            "Only a store in PostgreSQL has roles",
            hint="Of a file the setting file_mode says who may read it.",
        )
    schema = parse_url(url, own=OPTIONS).schema
    named = Roles(
        owner=owner or f"{schema}_owner",
        writer=writer or f"{schema}_writer",
        reader=reader or f"{schema}_reader",
    )
    script = roles_script(schema, named)
    session.output.result(
        {"schema": schema, **named._asdict(), "sql": script}, script.rstrip().splitlines()
    )
