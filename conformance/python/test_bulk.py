"""Bulk operations and statistics through `IoTHubRegistryManager`.

The client takes a 400 for a result, so a refused operation is told apart by `is_successful`.
"""

import pytest
from azure.iot.hub.models import AuthenticationMechanism, ExportImportDevice, PropertyContainer, SymmetricKey
from msrest.exceptions import HttpOperationError


def entry(device_id, mode, **more):
    more.setdefault("status", "enabled")
    more.setdefault("authentication", AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey()))
    return ExportImportDevice(id=device_id, import_mode=mode, **more)


def succeeds(result):
    assert result.is_successful is True
    assert result.errors == []
    assert result.warnings == []


def fails_for(result, expected):
    assert result.is_successful is False
    assert {error.device_id: error.error_code for error in result.errors} == expected
    assert all(error.error_status for error in result.errors)


def test_devices_are_created_with_their_twins(manager, unique_id):
    ids = [unique_id("bulk") for _ in range(2)]
    succeeds(
        manager.bulk_create_or_update_devices(
            [
                entry(id, "create", tags={"n": n}, properties=PropertyContainer(desired={"interval": n}))
                for n, id in enumerate(ids)
            ]
        )
    )
    for n, id in enumerate(ids):
        twin = manager.get_twin(id)
        assert twin.tags == {"n": n}
        assert twin.properties.desired["interval"] == n


def test_each_entry_has_its_own_verdict(manager, device, unique_id):
    fresh, missing = unique_id("fresh"), unique_id("missing")
    result = manager.bulk_create_or_update_devices(
        [entry(device.device_id, "create"), entry(fresh, "create"), entry(missing, "update")]
    )
    fails_for(result, {device.device_id: "DeviceAlreadyExists", missing: "DeviceNotFound"})
    assert manager.get_device(fresh).device_id == fresh


def test_an_update_by_etag_is_refused_when_stale_and_taken_when_current(manager, device):
    stale = entry(device.device_id, "updateIfMatchETag", status="disabled", e_tag="c3RhbGU=")
    fails_for(manager.bulk_create_or_update_devices([stale]), {device.device_id: "PreconditionFailed"})
    assert manager.get_device(device.device_id).status == "enabled"
    current = entry(device.device_id, "updateIfMatchETag", status="disabled", e_tag=device.etag)
    succeeds(manager.bulk_create_or_update_devices([current]))
    assert manager.get_device(device.device_id).status == "disabled"


def test_a_deletion_by_etag_is_refused_when_stale_and_done_when_current(manager, device, refused):
    stale = entry(device.device_id, "deleteIfMatchETag", e_tag="c3RhbGU=")
    fails_for(manager.bulk_create_or_update_devices([stale]), {device.device_id: "PreconditionFailed"})
    succeeds(manager.bulk_create_or_update_devices([entry(device.device_id, "deleteIfMatchETag", e_tag=device.etag)]))
    refused(404, "DeviceNotFound", manager.get_device, device.device_id)


def test_a_twin_update_leaves_the_identity_alone(manager, device):
    twin = entry(device.device_id, "updateTwin", status="disabled", tags={"line": "north"})
    succeeds(manager.bulk_create_or_update_devices([twin]))
    assert manager.get_twin(device.device_id).tags == {"line": "north"}
    read = manager.get_device(device.device_id)
    assert (read.status, read.etag) == ("enabled", device.etag)


def test_devices_are_deleted_whatever_their_etag(manager, device, unique_id, refused):
    missing = unique_id("missing")
    result = manager.bulk_create_or_update_devices(
        [entry(device.device_id, "delete", e_tag="c3RhbGU="), entry(missing, "delete")]
    )
    fails_for(result, {missing: "DeviceNotFound"})
    refused(404, "DeviceNotFound", manager.get_device, device.device_id)


def test_more_than_a_hundred_entries_are_refused(manager, unique_id, refused):
    ids = [unique_id("many") for _ in range(101)]
    with pytest.raises(HttpOperationError) as raised:
        manager.bulk_create_or_update_devices([entry(id, "create") for id in ids])
    response = raised.value.response
    assert response.status_code == 413, response.text
    assert response.headers["iothub-errorcode"] == "TooManyDevices"
    refused(404, "DeviceNotFound", manager.get_device, ids[0])


def test_the_statistics_count_devices_by_status(manager, unique_id):
    before = manager.get_device_registry_statistics()
    manager.create_device_with_sas(unique_id("on"), None, None, "enabled")
    manager.create_device_with_sas(unique_id("off"), None, None, "disabled")
    after = manager.get_device_registry_statistics()
    assert after.total_device_count == before.total_device_count + 2
    assert after.enabled_device_count == before.enabled_device_count + 1
    assert after.disabled_device_count == before.disabled_device_count + 1


def test_the_service_statistics_count_connections(manager):
    assert manager.get_service_statistics().connected_device_count == 0
