"""Devices at their hub through `azure-iot-device` over MQTT, on port 8883 and in WebSockets.

Operators are PyPI `azure-iot-hub`. That package sends messages to devices over AMQP, so those go
through our own HTTPS call, as does reading what devices sent.
"""

import asyncio
import base64
import json
import os
import queue
import time

import pytest
from azure.iot.device import Message, MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient as AsyncClient
from azure.iot.device.exceptions import ClientError, CredentialError, ServiceError
from azure.iot.hub.models import Twin
from msrest.exceptions import HttpOperationError
from support import certificates
from support.devices import TRANSPORTS, Device, how
from support.operators import desire, invoke, works_in_full
from support.rest import signed
from support.waiting import LIMIT_SECS, eventually

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)

# The client makes a new token this long before the old one ends, and has no setting for it.
RENEWAL_MARGIN_SECS = 120


@pytest.fixture
def connect(world, hub, transport):
    """Makes a client of a device with keys, connected and listening unless told otherwise."""
    made = []

    def connect(identity, key=None, listening=True, **options):
        key = key or identity.authentication.symmetric_key.primary_key
        one = Device.with_key(world, hub.host, identity.device_id, key, transport, **options)
        made.append(one)
        one.client.connect()
        if listening:
            one.listen()
        return one

    yield connect
    for one in made:
        one.client.shutdown()


def test_events_arrive_with_their_properties(connect, hub, device):
    client = connect(device, listening=False).client
    message = Message(json.dumps({"t": 21.5}), message_id="m/1", content_type="application/json", content_encoding="utf-8")
    message.correlation_id, message.user_id = "c=1&d", "ü"
    message.custom_properties = {"plain": "1", "a b/c": "50% = ½ & +", "empty": ""}
    client.send_message(message)
    client.send_message("only text")
    rich, bare = hub.events_of(device.device_id, 2)
    assert rich["deviceId"] == bare["deviceId"] == device.device_id
    assert rich["body"] == {"t": 21.5}
    assert rich["applicationProperties"] == message.custom_properties
    properties = rich["properties"]
    assert properties["messageId"] == "m/1"
    assert (properties["correlationId"], properties["userId"]) == ("c=1&d", "ü")
    assert (properties["contentType"], properties["contentEncoding"]) == ("application/json", "utf-8")
    assert bare["applicationProperties"] == {}
    assert bare["partition"] == rich["partition"]
    assert bare["sequenceNumber"] > rich["sequenceNumber"]


def test_many_events_arrive_once_and_in_their_order(connect, hub, device):
    client = connect(device, listening=False).client
    for n in range(100):
        client.send_message(Message(json.dumps(n), content_type="application/json", content_encoding="utf-8"))
    assert [event["body"] for event in hub.events_of(device.device_id, 100)] == list(range(100))


def test_a_device_reads_and_reports_its_twin(connect, manager, device):
    version = desire(manager, device.device_id, interval=60, deep={"er": 1})
    client = connect(device, listening=False).client
    twin = client.get_twin()
    assert twin["desired"] == {"interval": 60, "deep": {"er": 1}, "$version": version}
    assert twin["reported"] == {"$version": 1}
    client.patch_twin_reported_properties({"battery": 80, "list": [1, {"a": 2}], "gone": 1})
    client.patch_twin_reported_properties({"gone": None})
    assert client.get_twin()["reported"] == {"battery": 80, "list": [1, {"a": 2}], "$version": 3}
    shown = manager.get_twin(device.device_id).properties.reported
    assert (shown["battery"], shown["$version"]) == (80, 3)


def test_a_report_that_may_not_be_is_refused_and_the_connection_stays(connect, device):
    client = connect(device, listening=False).client
    with pytest.raises(ClientError) as raised:
        client.patch_twin_reported_properties({"big": "x" * 4097})
    assert isinstance(raised.value.__cause__, ServiceError)
    assert str(raised.value.__cause__) == "twin operation returned status 400"
    assert client.connected
    assert client.get_twin()["reported"] == {"$version": 1}


def test_a_device_hears_of_desired_changes(connect, manager, device):
    connected = connect(device)
    first = desire(manager, device.device_id, a={"b": 1}, c=2)
    assert connected.next_patch() == {"a": {"b": 1}, "c": 2, "$version": first}
    second = desire(manager, device.device_id, c=None)
    assert connected.next_patch() == {"c": None, "$version": second}
    manager.update_twin(device.device_id, Twin(tags={"only": "tags"}))
    third = desire(manager, device.device_id, last=True)
    assert connected.next_patch() == {"last": True, "$version": third}


def test_a_device_answers_methods(connect, manager, device):
    connected = connect(device)
    # Of `None` the operators' client makes an empty text.
    for payload in ({"deep": {"er": [1, "ü"]}}, [], "text", 3, False, ""):
        answer = invoke(manager, device.device_id, method_name="a b", payload=payload)
        assert answer.status == 207
        assert answer.payload == {"method": "a b", "got": payload}
        assert connected.calls.get(timeout=LIMIT_SECS).payload == payload


def test_a_device_that_is_not_there_takes_no_methods(connect, manager, device, transport):
    refused_offline(manager, device.device_id)
    # Neither does one that is connected and has not asked for any.
    connected = connect(device, listening=False)
    refused_offline(manager, device.device_id)
    # Who is willing to wait reaches it as soon as it does ask.
    connected.listen()
    assert invoke(manager, device.device_id, connect_timeout_in_seconds=5).status == 207
    connected.client.disconnect()
    refused_offline(manager, device.device_id)


def refused_offline(manager, device_id):
    with pytest.raises(HttpOperationError) as raised:
        invoke(manager, device_id)
    response = raised.value.response
    assert response.status_code == 404, response.text
    assert response.headers["iothub-errorcode"] == "DeviceNotOnline"
    assert json.loads(response.json()["Message"])["errorCode"] == 404103


def test_messages_reach_a_device_with_their_properties(connect, hub, manager, device, unique_id):
    connected = connect(device)
    message_id = unique_id("m/1")
    properties = {"a b/c": "50% = ½ & +", "empty": ""}
    sent = hub.send(device.device_id, messageId=message_id, correlationId="c/1", userId="ü", contentType="application/json",
                    contentEncoding="utf-8", properties=properties, body={"open": ["valve", 3]}, ack="full")
    assert sent["messageId"] == message_id
    got = connected.next_message()
    assert json.loads(got.data) == {"open": ["valve", 3]}
    assert (got.message_id, got.correlation_id, got.user_id) == (message_id, "c/1", "ü")
    assert (got.content_type, got.content_encoding, got.ack) == ("application/json", "utf-8", "full")
    assert got.custom_properties == properties
    # The client acknowledges by itself, and the queue is empty then.
    eventually(lambda: manager.get_device(device.device_id).cloud_to_device_message_count == 0, "an empty queue")
    [record] = hub.feedback_on(message_id)
    assert (record["statusCode"], record["deviceId"]) == ("Success", device.device_id)


def test_what_is_sent_to_a_device_that_is_away_waits_for_it(connect, hub, manager, device):
    connected = connect(device)
    # Only this subscribes to answers, and without it the client never hears the one it asks for
    # whenever it comes back.
    connected.client.get_twin()
    connected.client.disconnect()
    connected.becomes(False)
    for n in range(3):
        hub.send(device.device_id, bodyText=f"while away {n}")
    assert manager.get_device(device.device_id).cloud_to_device_message_count == 3
    version = desire(manager, device.device_id, away=True)
    connected.client.connect()
    assert [connected.next_message().data for _ in range(3)] == [f"while away {n}".encode() for n in range(3)]
    # The client asks for its twin of its own accord and makes a patch of it.
    assert connected.next_patch() == {"away": True, "$version": version}


def test_the_hub_knows_who_is_connected(connect, manager, device):
    connected = connect(device, listening=False)
    online = manager.get_twin(device.device_id)
    assert online.connection_state == "Connected"
    connected.client.disconnect()
    eventually(lambda: manager.get_twin(device.device_id).connection_state == "Disconnected", "disconnected")
    assert manager.get_device(device.device_id).last_activity_time.year > 2000


def test_a_token_is_renewed_without_subscribing_again(connect, hub, manager, device):
    # Every 5 seconds. An answer that is on its way when the client leaves is lost to it.
    connected = connect(device, sastoken_ttl=RENEWAL_MARGIN_SECS + 5)
    works_in_full(manager, hub, connected, device.device_id, 1)
    n_seen = connected.states.qsize()
    # The client leaves and comes back with its new token.
    eventually(lambda: connected.states.qsize() >= n_seen + 2 and connected.client.connected, "a renewal")
    works_in_full(manager, hub, connected, device.device_id, 2)
    assert connected.faults == []


def test_a_connection_ends_with_its_token(world, hub, device, transport):
    key = device.authentication.symmetric_key.primary_key
    resource, life_secs = f"{hub.host}/devices/{device.device_id}", 3
    began = time.time()
    with Device.with_token(world, signed(resource, key, life_secs), transport, connection_retry=False) as connected:
        connected.client.connect()
        connected.becomes(False)
        # A token's end is a whole second, at most one less than its life from now.
        assert life_secs - 1 <= time.time() - began <= life_secs + 5
        connected.client.update_sastoken(signed(resource, key))
        connected.client.connect()
        connected.client.get_twin()


@pytest.mark.parametrize("keeps", ["primary_key", "secondary_key"])
def test_either_key_opens_the_connection(connect, device, keeps):
    key = getattr(device.authentication.symmetric_key, keeps)
    assert connect(device, key, listening=False).client.get_twin()["desired"] == {"$version": 1}


def test_a_device_with_a_thumbprint_connects(world, hub, manager, unique_id, tmp_path, transport):
    device_id = unique_id("cnc")
    mine, other = certificates.leaf(tmp_path, "any name"), certificates.leaf(tmp_path, "another name")
    manager.create_device_with_x509(device_id, "00" * 20, mine.sha1, "enabled")
    with Device.with_certificate(world, hub.host, device_id, mine, transport) as connected:
        connected.client.send_message("by certificate")
        assert hub.events_of(device_id, 1)
    with Device.with_certificate(world, hub.host, device_id, other, transport) as stranger:
        stranger.is_refused_to_connect()


def test_a_device_of_a_certificate_authority_connects(world, hub, manager, provisioning, unique_id, tmp_path, transport):
    root = certificates.authority(tmp_path, unique_id("root"))
    provisioning.upload_authority(unique_id("ca"), root)
    device_id = unique_id("cnc")
    mine, other = certificates.leaf(tmp_path, device_id, root), certificates.leaf(tmp_path, unique_id("other"), root)
    manager.create_device_with_certificate_authority(device_id, "enabled")
    with Device.with_certificate(world, hub.host, device_id, mine, transport) as connected:
        connected.client.send_message("by authority")
        assert hub.events_of(device_id, 1)
    with Device.with_certificate(world, hub.host, device_id, other, transport) as stranger:
        stranger.is_refused_to_connect()


def disable(manager, device):
    keys = device.authentication.symmetric_key
    manager.update_device_with_sas(device.device_id, device.etag, keys.primary_key, keys.secondary_key, "disabled")


def delete(manager, device):
    manager.delete_device(device.device_id)


def change_both_keys(manager, device):
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
    manager.update_device_with_sas(device.device_id, device.etag, *keys, "enabled")


@pytest.mark.parametrize("deed", [disable, delete, change_both_keys])
def test_a_connected_device_is_cut_off_by(connect, hub, manager, device, deed):
    connected = connect(device, connection_retry_interval=1)
    works_in_full(manager, hub, connected, device.device_id, 1)
    deed(manager, device)
    began = time.monotonic()
    connected.becomes(False)
    assert time.monotonic() - began < 5
    # It tries again by itself, is refused, and gives up: only the refusal ends its retries.
    connected.is_refused()
    connected.is_refused_to_connect()
    assert not connected.client.connected


def test_a_device_is_kept_out_until_it_is_enabled_again(connect, manager, device):
    disable(manager, device)
    with pytest.raises(CredentialError):
        connect(device)
    current = manager.get_device(device.device_id)
    keys = current.authentication.symmetric_key
    manager.update_device_with_sas(device.device_id, current.etag, keys.primary_key, keys.secondary_key, "enabled")
    assert connect(device, listening=False).client.get_twin()


def test_the_wrong_key_opens_nothing(connect, manager, device, unique_id):
    other = manager.create_device_with_sas(unique_id("py"), None, None, "enabled")
    with pytest.raises(CredentialError):
        connect(device, other.authentication.symmetric_key.primary_key)
    assert manager.get_twin(device.device_id).connection_state == "Disconnected"


def test_a_second_connection_takes_the_place_of_the_first(connect, manager, device):
    first = connect(device, connection_retry=False)
    second = connect(device)
    first.becomes(False)
    assert invoke(manager, device.device_id).status == 207
    assert second.calls.get(timeout=LIMIT_SECS).name == "reboot"
    with pytest.raises(queue.Empty):
        first.calls.get_nowait()
    assert manager.get_twin(device.device_id).connection_state == "Connected"


def test_the_async_client_does_it_all(world, hub, manager, device, transport):
    text = f"HostName={hub.host};DeviceId={device.device_id};SharedAccessKey={device.authentication.symmetric_key.primary_key}"

    async def act():
        client = AsyncClient.create_from_connection_string(text, **how(world, transport))
        # The client calls its handlers in an event loop of its own.
        messages, patches = queue.Queue(), queue.Queue()

        async def take_message(message):
            messages.put(message)

        async def take_patch(patch):
            patches.put(patch)

        async def answer(request):
            await client.send_method_response(MethodResponse.create_from_method_request(request, 207, request.payload))

        client.on_message_received = take_message
        client.on_twin_desired_properties_patch_received = take_patch
        client.on_method_request_received = answer
        try:
            await asyncio.gather(*(client.send_message(Message(str(n))) for n in range(10)))
            await client.patch_twin_reported_properties({"async": True})
            assert (await client.get_twin())["reported"]["async"] is True
            version = await asyncio.to_thread(desire, manager, device.device_id, a=1)
            assert await asyncio.to_thread(patches.get, timeout=LIMIT_SECS) == {"a": 1, "$version": version}
            called = await asyncio.to_thread(invoke, manager, device.device_id)
            assert (called.status, called.payload) == (207, {"in": [1, None]})
            await asyncio.to_thread(hub.send, device.device_id, bodyText="hello")
            assert (await asyncio.to_thread(messages.get, timeout=LIMIT_SECS)).data == b"hello"
        finally:
            await client.shutdown()

    asyncio.run(asyncio.wait_for(act(), LIMIT_SECS))
    assert len(hub.events_of(device.device_id, 10)) == 10
