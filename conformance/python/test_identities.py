"""Device identities through `IoTHubRegistryManager`."""

import base64
import os

import pytest
from azure.iot.hub import IoTHubRegistryManager


def new_key(n_bytes=32):
    return base64.b64encode(os.urandom(n_bytes)).decode()


def with_member(connection_string, name, value):
    pairs = [pair.split("=", 1) for pair in connection_string.split(";")]
    return ";".join(f"{key}={value if key == name else old}" for key, old in pairs)


def test_a_device_without_keys_is_given_two(manager, unique_id):
    device_id = unique_id("keys")
    created = manager.create_device_with_sas(device_id, None, None, "enabled")
    assert created.device_id == device_id
    assert created.status == "enabled"
    assert created.connection_state == "Disconnected"
    assert created.cloud_to_device_message_count == 0
    assert created.last_activity_time.year == 1
    assert created.authentication.type == "sas"
    keys = created.authentication.symmetric_key
    assert len(base64.b64decode(keys.primary_key)) == 32
    assert len(base64.b64decode(keys.secondary_key)) == 32
    assert keys.primary_key != keys.secondary_key

    read = manager.get_device(device_id)
    assert read.authentication.symmetric_key.primary_key == keys.primary_key
    assert read.etag == created.etag
    assert read.generation_id == created.generation_id


def test_a_device_keeps_the_keys_it_was_given(manager, unique_id):
    primary, secondary = new_key(16), new_key(64)
    created = manager.create_device_with_sas(
        unique_id("own"), primary, secondary, "disabled", status_reason="not yet"
    )
    assert created.authentication.symmetric_key.primary_key == primary
    assert created.authentication.symmetric_key.secondary_key == secondary
    assert (created.status, created.status_reason) == ("disabled", "not yet")


def test_a_device_keeps_its_thumbprints(manager, unique_id):
    created = manager.create_device_with_x509(unique_id("x509"), "Aa" * 20, "bB" * 32, "enabled")
    read = manager.get_device(created.device_id)
    assert read.authentication.type == "selfSigned"
    assert read.authentication.x509_thumbprint.primary_thumbprint == "Aa" * 20
    assert read.authentication.x509_thumbprint.secondary_thumbprint == "bB" * 32


def test_a_device_can_rest_on_a_certificate_authority(manager, unique_id):
    created = manager.create_device_with_certificate_authority(unique_id("ca"), "enabled")
    assert manager.get_device(created.device_id).authentication.type == "certificateAuthority"


def test_an_update_needs_no_etag(manager, device):
    primary, secondary = new_key(), new_key()
    updated = manager.update_device_with_sas(
        device.device_id, None, primary, secondary, "disabled", status_reason="stolen"
    )
    assert (updated.status, updated.status_reason) == ("disabled", "stolen")
    assert updated.authentication.symmetric_key.primary_key == primary
    assert updated.etag != device.etag
    assert updated.generation_id == device.generation_id


def test_an_update_by_the_current_etag_is_taken_and_by_a_stale_one_refused(manager, device, refused):
    keys = device.authentication.symmetric_key
    arguments = (keys.primary_key, keys.secondary_key)
    updated = manager.update_device_with_sas(device.device_id, device.etag, *arguments, "disabled")
    assert updated.status == "disabled"
    text = refused(
        412, "PreconditionFailed",
        manager.update_device_with_sas, device.device_id, device.etag, *arguments, "enabled",
    )
    assert text.startswith("Precondition failed: Device version did not match")
    assert manager.get_device(device.device_id).status == "disabled"


def test_a_device_can_change_from_keys_to_a_certificate(manager, device):
    updated = manager.update_device_with_x509(device.device_id, device.etag, "ab" * 32, "cd" * 32, "enabled")
    assert updated.authentication.type == "selfSigned"
    assert updated.authentication.x509_thumbprint.primary_thumbprint == "ab" * 32
    assert manager.get_twin(device.device_id).authentication_type == "selfSigned"


def test_a_deletion_by_a_stale_etag_is_refused_and_by_the_current_one_done(manager, device, refused):
    keys = device.authentication.symmetric_key
    updated = manager.update_device_with_sas(
        device.device_id, None, keys.primary_key, keys.secondary_key, "disabled"
    )
    refused(412, "PreconditionFailed", manager.delete_device, device.device_id, device.etag)
    manager.delete_device(device.device_id, updated.etag)
    refused(404, "DeviceNotFound", manager.get_device, device.device_id)


def test_a_deletion_needs_no_etag(manager, device, refused):
    manager.delete_device(device.device_id)
    refused(404, "DeviceNotFound", manager.get_device, device.device_id)
    refused(404, "DeviceNotFound", manager.get_twin, device.device_id)


def test_an_id_may_have_every_character_an_id_may_have(manager, unique_id):
    device_id = unique_id("a.+%_#*?!(),:=@$'")
    manager.create_device_with_sas(device_id, None, None, "enabled")
    assert manager.get_device(device_id).device_id == device_id
    manager.delete_device(device_id)


def test_a_list_has_every_device_up_to_the_number_asked_for(manager, other_manager, unique_id):
    ids = [manager.create_device_with_sas(unique_id("list"), None, None, "enabled").device_id for _ in range(3)]
    assert set(ids) <= {device.device_id for device in manager.get_devices(1000)}
    assert set(ids) <= {device.device_id for device in manager.get_devices()}
    assert len(manager.get_devices(2)) == 2
    assert not set(ids) & {device.device_id for device in other_manager.get_devices()}


def test_a_device_has_no_modules(manager, device):
    assert manager.get_modules(device.device_id) == []


def test_a_device_that_exists_is_not_created_again(manager, device, refused):
    text = refused(
        409, "DeviceAlreadyExists", manager.create_device_with_sas, device.device_id, None, None, "enabled"
    )
    assert text.startswith(f"A device with ID '{device.device_id}' is already registered.")
    keys = manager.get_device(device.device_id).authentication.symmetric_key
    assert keys.primary_key == device.authentication.symmetric_key.primary_key


def test_a_device_that_does_not_exist_is_told_by_its_id(manager, unique_id, refused):
    device_id = unique_id("missing")
    assert refused(404, "DeviceNotFound", manager.get_device, device_id) == device_id
    refused(404, "DeviceNotFound", manager.delete_device, device_id)
    refused(404, "DeviceNotFound", manager.update_device_with_sas, device_id, None, None, None, "enabled")
    refused(404, "DeviceNotFound", manager.update_device_with_sas, device_id, "c3RhbGU=", None, None, "enabled")


@pytest.mark.parametrize("device_id", ["x" * 129, "with space", "ü"])
def test_an_id_that_is_not_one_is_refused(manager, refused, device_id):
    refused(400, "ArgumentInvalid", manager.create_device_with_sas, device_id, None, None, "enabled")


@pytest.mark.parametrize(
    "primary, secondary",
    [("not base64!", new_key()), (new_key(15), new_key()), (new_key(), new_key(65)), (new_key(), None)],
    ids=["not base64", "too short", "too long", "one of two"],
)
def test_keys_that_are_not_keys_are_refused(manager, unique_id, refused, primary, secondary):
    device_id = unique_id("bad-key")
    refused(400, "ArgumentInvalid", manager.create_device_with_sas, device_id, primary, secondary, "enabled")
    refused(404, "DeviceNotFound", manager.get_device, device_id)


def test_a_thumbprint_that_is_not_one_is_refused(manager, unique_id, refused):
    refused(
        400, "ArgumentInvalid",
        manager.create_device_with_x509, unique_id("bad"), "not hexadecimal", None, "enabled",
    )


@pytest.mark.parametrize(
    "name, value", [("SharedAccessKey", new_key()), ("SharedAccessKeyName", "nobody")], ids=["key", "policy"]
)
def test_an_operator_without_the_key_is_refused(world, refused, unique_id, manager, name, value):
    connection_string = with_member(world["hubs"]["hub-1"]["connectionString"], name, value)
    stranger = IoTHubRegistryManager.from_connection_string(connection_string)
    device_id = unique_id("stranger")
    refused(401, "IotHubUnauthorizedAccess", stranger.create_device_with_sas, device_id, None, None, "enabled")
    refused(401, "IotHubUnauthorizedAccess", stranger.get_devices)
    refused(401, "IotHubUnauthorizedAccess", stranger.get_device_registry_statistics)
    refused(404, "DeviceNotFound", manager.get_device, device_id)


def test_an_operator_of_another_hub_is_refused(world, refused):
    host = world["hubs"]["hub-1"]["host"]
    foreign = with_member(world["hubs"]["hub-2"]["connectionString"], "HostName", host)
    stranger = IoTHubRegistryManager.from_connection_string(foreign)
    refused(401, "IotHubUnauthorizedAccess", stranger.get_devices)
