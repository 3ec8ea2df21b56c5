"""The bank's generated messages are what the schema functions are tried on."""

from __future__ import annotations

from tests.codegen.conftest import bank_gen

__all__ = ["bank_gen"]
