"""The suite's own isolation: internet sockets are refused, local ones and child processes are not."""

import asyncio
import os
import socket
import sys

import pytest


@pytest.fixture
def forgiven(no_network):
    """Clear the record of attempts, which would otherwise fail the test."""
    attempts = no_network
    yield attempts
    attempts.clear()


@pytest.mark.parametrize("family, address", [(socket.AF_INET, ("127.0.0.1", 9)), (socket.AF_INET6, ("::1", 9, 0, 0))])
def test_internet_sockets_are_refused(forgiven, family, address):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        for call in (connection.connect, connection.connect_ex):
            with pytest.raises(OSError, match="without a network"):
                call(address)
    with pytest.raises(OSError, match="without a network"):
        socket.getaddrinfo("example.org", 443)
    assert len(forgiven) == 3


def test_local_pipes_still_work():
    left, right = socket.socketpair()
    left.sendall(b"x")
    assert right.recv(1) == b"x"
    left.close()
    right.close()

    async def child():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=asyncio.subprocess.PIPE)
        return (await process.communicate())[0]

    assert asyncio.run(child()) == b"1\n"


def test_offline_switches_are_set():
    assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["WANDB_MODE"] == "disabled"
