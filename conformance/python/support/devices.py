"""Devices at their hub through PyPI `azure-iot-device`, with every handler attached.

The client decides at which port it knocks: 8883, or 443 for WebSockets.
"""

import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodResponse, X509
from azure.iot.device.common.pipeline import pipeline_thread
from azure.iot.device.common.transport_exceptions import UnauthorizedError
from azure.iot.device.exceptions import CredentialError

from .waiting import LIMIT_SECS, eventually

TRANSPORTS = {"mqtt": {}, "websockets": {"websockets": True}}


class Device:
    """A client, and all it was told: `messages`, `patches`, `calls` and `states` are queues."""

    def __init__(self, client):
        self.client = client
        self.messages, self.patches, self.calls, self.states = (queue.Queue() for _ in range(4))
        client.on_connection_state_change = lambda: self.states.put(client.connected)
        # Without a handler the client writes what went wrong to standard error, where nobody looks.
        self.faults = []
        client.on_background_exception = self.faults.append

    @classmethod
    def with_key(cls, world, host, device_id, key, transport, **options):
        text = f"HostName={host};DeviceId={device_id};SharedAccessKey={key}"
        return cls(IoTHubDeviceClient.create_from_connection_string(text, **how(world, transport), **options))

    @classmethod
    def with_token(cls, world, token, transport, **options):
        return cls(IoTHubDeviceClient.create_from_sastoken(token, **how(world, transport), **options))

    @classmethod
    def with_certificate(cls, world, host, device_id, certificate, transport, **options):
        x509 = X509(str(certificate.cert_file), str(certificate.key_file))
        client = IoTHubDeviceClient.create_from_x509_certificate(x509, host, device_id, **how(world, transport), **options)
        return cls(client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.shutdown()

    def listen(self):
        """Subscribes to everything a hub sends on its own account."""
        self.client.on_message_received = self.messages.put
        self.client.on_method_request_received = self.answer
        self.client.on_twin_desired_properties_patch_received = self.patches.put

    def answer(self, request):
        self.calls.put(request)
        payload = {"method": request.name, "got": request.payload}
        self.client.send_method_response(MethodResponse.create_from_method_request(request, 207, payload))

    def becomes(self, connected):
        """Waits until the client says that it is, or is not, connected."""
        eventually(lambda: self.client.connected is connected, f"connected is {connected}; {self.faults}")

    def is_refused(self):
        """Waits until a client that was cut off has tried again by itself, was refused and has put that attempt away.

        A client that is cut off says so once, and a client that is refused says so once more.
        """
        eventually(lambda: any(isinstance(fault, UnauthorizedError) for fault in self.faults), "a refusal")
        self._puts_away(2)

    def is_refused_to_connect(self):
        """Expects that its hub does not let it in, and waits until it has put that attempt away."""
        n_before = self._n_ends()
        with pytest.raises(CredentialError):
            self.client.connect()
        self._puts_away(n_before + 1)

    def _puts_away(self, n):
        """Waits until as many connections and attempts are over, to the last thing the client does about them.

        That is to throw away the calls of methods that nobody has taken. azure-iot-device 2.14.0 throws away as well
        what `shutdown` or `disconnect` has put in the same place to end the thread that takes them, and then waits for
        that thread for ever; so neither may be called before.
        """
        eventually(lambda: self._n_ends() >= n, f"the end of {n} attempts; {self.faults}")
        # The thread that does it has said so already, and does one thing after the other.
        pipeline_thread._get_named_executor("callback").submit(lambda: None).result(timeout=LIMIT_SECS)

    def _n_ends(self):
        return list(self.states.queue).count(False)

    def next_message(self):
        return self.messages.get(timeout=LIMIT_SECS)

    def next_patch(self):
        return self.patches.get(timeout=LIMIT_SECS)


def how(world, transport):
    """The options every client gets: the certificate authority, and the transport."""
    with open(world["authority"], encoding="utf-8") as authority:
        return {"server_verification_cert": authority.read(), **TRANSPORTS[transport]}
