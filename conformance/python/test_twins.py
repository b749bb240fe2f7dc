"""Twins through `IoTHubRegistryManager`."""

import pytest
from azure.iot.hub.models import Twin, TwinProperties


def patch(**desired):
    return Twin(properties=TwinProperties(desired=desired))


def desired_of(twin):
    return {key: value for key, value in twin.properties.desired.items() if not key.startswith("$")}


def test_a_twin_is_born_with_its_device(manager, device):
    twin = manager.get_twin(device.device_id)
    assert twin.device_id == device.device_id
    assert twin.version == 2
    assert twin.device_etag == device.etag
    assert twin.status == "enabled"
    assert twin.connection_state == "Disconnected"
    assert twin.authentication_type == "sas"
    assert twin.capabilities.iot_edge is False
    assert twin.last_activity_time.year == 1
    assert twin.status_update_time.year == 1
    assert twin.properties.desired["$version"] == 1
    assert twin.properties.reported["$version"] == 1


def test_an_update_is_merged(manager, device):
    manager.update_twin(device.device_id, Twin(tags={"place": {"city": "Ulm", "floor": 2}}))
    manager.update_twin(device.device_id, patch(a={"b": 1, "c": 2}, d="kept"))
    twin = manager.update_twin(
        device.device_id,
        Twin(tags={"place": {"floor": None, "room": "R1"}}, properties=TwinProperties(desired={"a": {"b": None}})),
    )
    assert twin.tags == {"place": {"city": "Ulm", "room": "R1"}}
    assert desired_of(twin) == {"a": {"c": 2}, "d": "kept"}
    assert twin.properties.desired["$version"] == 3
    assert twin.properties.desired["$metadata"]["d"]["$lastUpdatedVersion"] == 2


def test_a_replacement_takes_away_what_it_does_not_name(manager, device):
    manager.update_twin(device.device_id, Twin(tags={"a": 1, "b": 2}, properties=TwinProperties(desired={"c": 3, "d": 4})))
    twin = manager.replace_twin(device.device_id, Twin(tags={"b": 20}, properties=TwinProperties(desired={"d": 40})))
    assert twin.tags == {"b": 20}
    assert desired_of(twin) == {"d": 40}
    emptied = manager.replace_twin(device.device_id, Twin(tags={"b": 20}))
    assert desired_of(emptied) == {}


def test_a_twin_as_it_was_read_can_be_written_back(manager, device):
    manager.update_twin(device.device_id, Twin(tags={"a": 1}, properties=TwinProperties(desired={"b": 2})))
    for write in (manager.update_twin, manager.replace_twin):
        read = manager.get_twin(device.device_id)
        read.tags["again"] = write.__name__
        written = write(device.device_id, read, read.etag)
        assert written.tags == {"a": 1, "again": write.__name__}
        assert desired_of(written) == {"b": 2}
        assert written.device_etag == device.etag


@pytest.mark.parametrize("name", ["update_twin", "replace_twin"])
def test_a_stale_etag_is_refused_and_changes_nothing(manager, device, refused, name):
    write = getattr(manager, name)
    stale = manager.get_twin(device.device_id).etag
    current = write(device.device_id, Twin(tags={"n": 1}), stale)
    text = refused(412, "PreconditionFailed", write, device.device_id, Twin(tags={"n": 2}), stale)
    assert f"ETag mismatch for device ID '{device.device_id}'" in text
    now = manager.get_twin(device.device_id)
    assert (now.tags, now.etag, now.version) == ({"n": 1}, current.etag, current.version)


def test_the_twin_of_a_missing_device_is_refused(manager, unique_id, refused):
    device_id = unique_id("missing")
    refused(404, "DeviceNotFound", manager.get_twin, device_id)
    refused(404, "DeviceNotFound", manager.update_twin, device_id, Twin(tags={"n": 1}))
    refused(404, "DeviceNotFound", manager.replace_twin, device_id, Twin(tags={"n": 1}))


@pytest.mark.parametrize(
    "tags",
    [{"a.b": 1}, {"a b": 1}, {"big": "x" * 4097}, {f"k{n}": "x" * 4000 for n in range(3)}],
    ids=["dot", "space", "long text", "too large"],
)
def test_a_twin_that_may_not_be_is_refused(manager, device, refused, tags):
    for write in (manager.update_twin, manager.replace_twin):
        refused(400, "ArgumentInvalid", write, device.device_id, Twin(tags=tags))
    assert manager.get_twin(device.device_id).version == 2
