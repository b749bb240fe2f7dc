"""What operators ask of a device, through PyPI `azure-iot-hub`."""

from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from .waiting import eventually


def desire(manager, device_id, **desired):
    """Sets desired properties; says which version they have then."""
    twin = manager.update_twin(device_id, Twin(properties=TwinProperties(desired=desired)))
    return twin.properties.desired["$version"]


def invoke(manager, device_id, **call):
    call = {"method_name": "reboot", "payload": {"in": [1, None]}, "response_timeout_in_seconds": 10, **call}
    return manager.invoke_device_method(device_id, CloudToDeviceMethod(**call))


def works_in_full(manager, hub, connected, device_id, n_events):
    """Everything a device can do, on a client that listens: nothing is subscribed here."""
    connected.client.send_message(f"again {n_events}")
    assert len(hub.events_of(device_id, n_events)) == n_events
    connected.client.patch_twin_reported_properties({"n": n_events})
    assert connected.client.get_twin()["reported"]["n"] == n_events
    answer = invoke(manager, device_id)
    assert (answer.status, answer.payload) == (207, {"method": "reboot", "got": {"in": [1, None]}})
    hub.send(device_id, messageId=f"m{n_events}", bodyText="hello")
    assert connected.next_message().message_id == f"m{n_events}"
    version = desire(manager, device_id, n=n_events)
    # Before it may come what the client makes of its twin when it is connected again.
    eventually(lambda: connected.next_patch() == {"n": n_events, "$version": version}, "the desired change")
