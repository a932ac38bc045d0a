import uuid

import pytest
import zmq

from ml_experiment_nb.work.client import HeadlessManager


def test_nothing_that_a_kernel_says_is_dropped_while_its_client_is_busy(tmp_path):
    address = f"ipc://{tmp_path}/{uuid.uuid4().hex[:8]}"
    if len(address) > 100:  # the path of a socket
        pytest.skip("the temporary folder's name is too long")
    with zmq.Context() as context, context.socket(zmq.PUB) as kernel:
        kernel.setsockopt(zmq.SNDHWM, 0)
        kernel.bind(address)
        ours = HeadlessManager().context
        with zmq.Context.shadow(ours).socket(zmq.SUB) as client:
            client.setsockopt(zmq.RCVHWM, ours.getsockopt(zmq.RCVHWM))
            client.subscribe(b"")
            client.connect(address)
            while not client.poll(10):
                kernel.send(b"are you there?")
            for number in range(5000):
                kernel.send(b"%d" % number)
            heard = []
            while client.poll(2000):
                heard.append(client.recv())
                if heard[-1] == b"4999":
                    break
    assert [one for one in heard if one != b"are you there?"] == [b"%d" % number for number in range(5000)]
