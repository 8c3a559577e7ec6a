"""Transactions of the one writing process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from portal.store.engine import check_migrated


class Store:
    """Reads in parallel, writes one at a time. Made by the process that holds `writer(engine)`."""

    def __init__(self, engine: Engine) -> None:
        check_migrated(engine)
        self._engine = engine
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of everything, without waiting for a writer."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only transaction that writes at this moment; all of it happens or nothing."""
        with self._lock, self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection
