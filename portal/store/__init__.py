"""The portal's database: the only place that opens it.

`Store.read()` and `Store.write()` give a connection inside one transaction; the functions of `programme`, `people`,
`register` and `books` take it first. One process writes, and inside it one transaction at a time, so what a writer has
read stays true until it has written.
"""

from sqlalchemy import Connection as Db
from sqlalchemy.exc import DataError

from portal.store.engine import StoreError, Writer, connect, describe, migrate, writer
from portal.store.store import Store

BEYOND = (DataError, OverflowError)
"""What a database says of a number or a letter that it cannot hold."""

__all__ = ["BEYOND", "Db", "Store", "StoreError", "Writer", "connect", "describe", "migrate", "writer"]
