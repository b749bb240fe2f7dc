"""A server ends and comes back while devices are connected through `azure-iot-device`.

The client subscribes once in its life: what it hears after the restart, it hears through the
subscriptions the server kept.
"""

import pytest
from azure.iot.hub import IoTHubRegistryManager
from support.control import control
from support.devices import TRANSPORTS, Device
from support.operators import works_in_full
from support.rest import Hub
from support.waiting import eventually


@pytest.fixture(scope="module")
def restarted(world, unique_id):
    """A device of each transport, that works before the restart and is connected again after it."""
    place = world["restarted"]["hubs"]["hub-3"]
    manager, hub = IoTHubRegistryManager.from_connection_string(place["connectionString"]), Hub(place)
    devices = {}
    try:
        for transport in TRANSPORTS:
            identity = manager.create_device_with_sas(unique_id("py"), None, None, "enabled")
            key = identity.authentication.symmetric_key.primary_key
            device = Device.with_key(world, hub.host, identity.device_id, key, transport, connection_retry_interval=1)
            devices[transport] = (identity.device_id, device)
            device.client.connect()
            device.listen()
            works_in_full(manager, hub, device, identity.device_id, 1)
        control(world, "stop")
        try:
            for _, device in devices.values():
                device.becomes(False)
        finally:
            control(world, "start")
        for _, device in devices.values():
            device.becomes(True)
        yield manager, hub, devices
    finally:
        for _, device in devices.values():
            device.client.shutdown()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_device_comes_back_and_hears_everything_without_subscribing(restarted, transport):
    manager, hub, devices = restarted
    device_id, device = devices[transport]
    works_in_full(manager, hub, device, device_id, 2)
    assert manager.get_twin(device_id).connection_state == "Connected"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_waited_over_the_restart_is_delivered_once(restarted, world, transport):
    manager, hub, devices = restarted
    device_id, device = devices[transport]
    device.client.disconnect()
    device.becomes(False)
    hub.send(device_id, bodyText="before the restart")
    control(world, "stop")
    control(world, "start")
    hub.send(device_id, bodyText="after the restart")
    device.client.connect()
    assert [device.next_message().data for _ in range(2)] == [b"before the restart", b"after the restart"]
    eventually(lambda: manager.get_device(device_id).cloud_to_device_message_count == 0, "an empty queue")
    assert device.messages.empty()
