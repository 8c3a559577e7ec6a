"""Transactions of the one writing process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from portal.store.engine import Writer, check_migrated


class Store:
    """Reads in parallel, writes one at a time. Made by the process that holds `writer(engine)`, which gives `lock`."""

    def __init__(self, engine: Engine, lock: Writer | None = None) -> None:
        check_migrated(engine)
        self._reading = engine
        if engine.dialect.name == "postgresql":
            self._reading = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._lock = lock or Writer(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of everything, without waiting for a writer."""
        with self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only transaction that writes at this moment; all of it happens or nothing.

        Raises:
            StoreError: the database went away, and the writer's lock with it.
        """
        with self._lock.begin() as connection:
            yield connection
