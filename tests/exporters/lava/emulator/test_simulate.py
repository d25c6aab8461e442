"""The emulator on threads: always the same result, in forked processes too."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.network import Network
from nsc_deploy.exporters.lava.emulator.simulate import output_spikes
from tests.support.random_networks import random_case


def case() -> tuple[Network, NDArray[np.int32]]:
    drawn = random_case(3)
    return drawn.network, np.ascontiguousarray(np.stack([drawn.messages] * 40, axis=1))


def test_any_number_of_threads_gives_the_same_and_they_stay() -> None:
    network, messages = case()
    alone = output_spikes(network, messages, threads=1)
    assert alone.any() and not alone.all()
    for threads in (2, 3, 2, 3):
        np.testing.assert_array_equal(output_spikes(network, messages, threads=threads), alone)
    staying = {thread.ident for thread in threading.enumerate() if thread.name.startswith("emulator")}
    for threads in (2, 3):
        output_spikes(network, messages, threads=threads)
    assert staying == {thread.ident for thread in threading.enumerate() if thread.name.startswith("emulator")}


def test_batches_of_several_callers_do_not_wait_for_each_other_for_ever() -> None:
    network, messages = case()
    alone = output_spikes(network, messages, threads=1)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: output_spikes(network, messages, threads=2), range(12)))
    for one in found:
        np.testing.assert_array_equal(one, alone)


def _again(sender: Connection) -> None:
    network, messages = case()
    sender.send_bytes(output_spikes(network, messages, threads=2).tobytes())


def test_a_forked_process_starts_threads_of_its_own() -> None:
    network, messages = case()
    mine = output_spikes(network, messages, threads=2)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_again, args=(sender,))
    child.start()
    try:
        assert receiver.poll(300), "the child waits for threads that it does not have"
        assert receiver.recv_bytes() == mine.tobytes()
    finally:
        child.kill()
        child.join()
