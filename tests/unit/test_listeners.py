"""What is said of a listener: why it exists, or that nobody knows it, or that it can be reached from outside."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from portal.listeners import Found, Known, Listener, survey


def test_a_listener_is_told_with_its_reason(tmp_path: Path) -> None:
    """TCP, UDP and Unix sockets of this very process; the place and the program decide which reason fits."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "one.sock"))
        unix.listen()
        known = [
            Known("127.0.0.1:*", "another program", "no-such-program"),
            Known(f"127.0.0.1:{tcp.getsockname()[1]}", "for this test"),
            Known(f"{tmp_path}/*.sock", "for this test too"),
        ]
        found = {one.listener.place: one for one in survey([os.getpid()], known)}

        def why(place: str) -> str:
            return found[place].why

        assert why(f"127.0.0.1:{tcp.getsockname()[1]}") == "for this test"
        assert why(str(tmp_path / "one.sock")) == "for this test too"
        assert why(f"127.0.0.1:{udp.getsockname()[1]}") == ""
        assert found[f"127.0.0.1:{udp.getsockname()[1]}"].line.startswith("FAIL  udp ")


def test_a_known_listener_on_a_public_address_is_not_well() -> None:
    """A reason does not excuse that other machines can connect."""
    for address, well in (("127.0.0.1", True), ("0.0.0.0", False), ("192.0.2.1", False), ("::", False)):
        found = Found(Listener("tcp", address, 8000, 1), 1, "proxy", "aisc", "The proxy.")
        assert found.well is well
        assert ("loopback only" in found.line) is not well
        meant = Found(found.listener, 1, "jupyterhub", "aisc", "The hub, for the nodes.", open=True)
        assert meant.well
