"""Messages to devices through PyPI `azure-iot-hub`, which sends them over AMQP with `uamqp`, on port
5671 and in WebSockets; and `uamqp` itself as a device, because it sends batches, as no other client
here does over AMQP.

`uamqp` looks for certificate authorities in certifi's file and where SSL_CERT_FILE says.
"""

import base64
import json
import signal
import time

import pytest
import uamqp
from azure.core.credentials import AccessToken
from azure.iot.hub import IoTHubRegistryManager
from support.devices import Device
from support.rest import derived_key, member, signed
from support.waiting import LIMIT_SECS, eventually
from uamqp import TransportType

TRANSPORTS = {"amqp": TransportType.Amqp, "websockets": TransportType.AmqpOverWebsocket}
LIFE_SECS = 600
pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(autouse=True)
def impatience():
    """`uamqp` waits for ever for what does not come."""

    def give_up(*_):
        raise TimeoutError(f"nothing after {LIMIT_SECS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    # Again and again, because what tidies up waits, too.
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECS, LIMIT_SECS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def sender(world, transport):
    """Makes operators' clients of hub-1, or of another connection string."""
    made = []

    def sender(connection_string=world["hubs"]["hub-1"]["connectionString"]):
        made.append(IoTHubRegistryManager.from_connection_string(connection_string, TRANSPORTS[transport]))
        return made[-1]

    yield sender
    for one in made:
        one.amqp_svc_client.disconnect_sync()


@pytest.fixture
def listening(world, hub, device):
    key = device.authentication.symmetric_key.primary_key
    with Device.with_key(world, hub.host, device.device_id, key, "mqtt") as connected:
        connected.client.connect()
        connected.listen()
        yield connected


def test_a_message_reaches_its_device_with_its_properties(sender, hub, manager, device, listening, unique_id):
    message_id = unique_id("m/1")
    properties = {"messageId": message_id, "correlationId": "c/1", "contentType": "application/json", "contentEncoding": "utf-8",
                  "iothub-ack": "full", "a b/c": "50% = ½ & +", "plain": "1"}
    sender().send_c2d_message(device.device_id, json.dumps({"open": "valve"}), properties)
    got = listening.next_message()
    assert json.loads(got.data) == {"open": "valve"}
    assert (got.message_id, got.correlation_id) == (message_id, "c/1")
    assert (got.content_type, got.content_encoding) == ("application/json", "utf-8")
    assert got.custom_properties == {"a b/c": "50% = ½ & +", "plain": "1"}
    eventually(lambda: manager.get_device(device.device_id).cloud_to_device_message_count == 0, "an empty queue")
    [record] = hub.feedback_on(message_id)
    assert (record["statusCode"], record["deviceId"]) == ("Success", device.device_id)


def test_messages_wait_for_their_device_in_their_order(sender, manager, device, world, hub):
    operator = sender()
    for n in range(10):
        operator.send_c2d_message(device.device_id, f"{n}")
    assert manager.get_device(device.device_id).cloud_to_device_message_count == 10
    key = device.authentication.symmetric_key.primary_key
    with Device.with_key(world, hub.host, device.device_id, key, "mqtt") as connected:
        connected.client.connect()
        connected.listen()
        assert [connected.next_message().data for _ in range(10)] == [f"{n}".encode() for n in range(10)]


def test_a_message_for_nobody_is_refused(sender, manager, device, unique_id):
    operator = sender()
    # All the client tells is that it failed.
    with pytest.raises(Exception, match="C2D message send failure"):
        operator.send_c2d_message(unique_id("stranger"), "hello")
    operator.send_c2d_message(device.device_id, "hello")
    assert manager.get_device(device.device_id).cloud_to_device_message_count == 1


def test_a_queue_takes_no_more_than_it_holds(sender, manager, device):
    operator = sender()
    for n in range(50):
        operator.send_c2d_message(device.device_id, f"{n}")
    with pytest.raises(Exception, match="C2D message send failure"):
        operator.send_c2d_message(device.device_id, "one too many")
    assert manager.get_device(device.device_id).cloud_to_device_message_count == 50


@pytest.mark.parametrize("policy", ["wrong key", "registryReadWrite"])
def test_a_policy_that_may_not_send_is_refused(sender, manager, device, world, policy):
    place = world["hubs"]["hub-1"]
    good = place["connectionString"]
    bad = good.replace(member(good, "SharedAccessKey"), derived_key(member(good, "SharedAccessKey"), "x"))
    with pytest.raises(uamqp.errors.AMQPError):
        sender(place["policies"].get(policy, bad)).send_c2d_message(device.device_id, "hello")
    assert manager.get_device(device.device_id).cloud_to_device_message_count == 0


class Telemetry:
    """`uamqp` as a device: it shows a token on the token link and sends on the link for events."""

    def __init__(self, hub, identity, transport):
        key = identity.authentication.symmetric_key.primary_key
        audience = f"{hub.host}/devices/{identity.device_id}"

        def get_token():
            return AccessToken(signed(audience, key, LIFE_SECS), int(time.time()) + LIFE_SECS)

        auth = uamqp.authentication.JWTTokenAuth(
            audience, f"amqps://{hub.host}", get_token, token_type=b"servicebus.windows.net:sastoken", transport_type=TRANSPORTS[transport])
        auth.update_token()
        self.client = uamqp.SendClient(f"amqps://{audience}/messages/events", auth=auth)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def send(self, *messages):
        for message in messages:
            self.client.queue_message(message)
        results = self.client.send_all_messages(close_on_done=False)
        assert [result for result in results if result != uamqp.constants.MessageState.SendComplete] == []


def test_a_batch_arrives_as_the_events_in_it(hub, device, transport):
    with Telemetry(hub, device, transport) as telemetry:
        telemetry.send(uamqp.BatchMessage(data=[json.dumps({"n": n}).encode() for n in range(50)]))
    bodies = [base64.b64decode(event["bodyBase64"]) for event in hub.events_of(device.device_id, 50)]
    assert [json.loads(body) for body in bodies] == [{"n": n} for n in range(50)]


def test_single_events_arrive_with_what_was_said_of_them(hub, device, transport):
    properties = uamqp.message.MessageProperties(message_id="m/1", correlation_id="c/1", content_type="application/json",
                                                 content_encoding="utf-8")
    with Telemetry(hub, device, transport) as telemetry:
        telemetry.send(uamqp.Message(json.dumps({"t": 21.5}), properties=properties, application_properties={"a b/c": "½"}))
    [event] = hub.events_of(device.device_id, 1)
    assert event["body"] == {"t": 21.5}
    assert event["applicationProperties"] == {"a b/c": "½"}
    assert (event["properties"]["messageId"], event["properties"]["correlationId"]) == ("m/1", "c/1")


def test_a_device_that_is_disabled_meanwhile_sends_no_more(hub, manager, device, transport):
    keys = device.authentication.symmetric_key
    with Telemetry(hub, device, transport) as telemetry:
        telemetry.send(uamqp.Message("before"))
        manager.update_device_with_sas(device.device_id, device.etag, keys.primary_key, keys.secondary_key, "disabled")
        began = time.monotonic()
        with pytest.raises(uamqp.errors.AMQPError):
            while time.monotonic() - began < LIMIT_SECS:
                telemetry.send(uamqp.Message("after"))
    assert hub.events_of(device.device_id, 1)
