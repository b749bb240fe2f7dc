"""Modules: their identities and twins through `IoTHubRegistryManager`, and themselves through
`IoTHubModuleClient` over MQTT, on port 8883 and in WebSockets."""

import base64
import json
import os
import time

import pytest
from azure.iot.device import IoTHubModuleClient, Message, X509
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from msrest.exceptions import HttpOperationError
from support import certificates
from support.devices import TRANSPORTS, Device, how
from support.waiting import LIMIT_SECS, eventually


@pytest.fixture
def module(manager, device):
    """A module of `device`, with keys the hub made."""
    return manager.create_module_with_sas(device.device_id, "eye", "the line", None, None)


@pytest.fixture
def connect(world, hub):
    """Makes a client of a module with keys, connected."""
    made = []

    def connect(module, transport, key=None, **options):
        key = key or module.authentication.symmetric_key.primary_key
        text = f"HostName={hub.host};DeviceId={module.device_id};ModuleId={module.module_id};SharedAccessKey={key}"
        one = Device(IoTHubModuleClient.create_from_connection_string(text, **how(world, transport), **options))
        made.append(one)
        one.client.connect()
        return one

    yield connect
    for one in made:
        one.client.shutdown()


def listen(connected):
    """Subscribes to everything a hub sends to a module, its inputs too, which nobody sends to here."""
    connected.client.on_message_received = connected.messages.put
    connected.client.on_method_request_received = connected.answer
    connected.client.on_twin_desired_properties_patch_received = connected.patches.put


def desire(manager, module, **desired):
    twin = Twin(properties=TwinProperties(desired=desired))
    return manager.update_module_twin(module.device_id, module.module_id, twin).properties.desired["$version"]


def invoke(manager, module):
    call = CloudToDeviceMethod(method_name="reboot", payload={"in": [1, None]}, response_timeout_in_seconds=10)
    return manager.invoke_device_module_method(module.device_id, module.module_id, call)


def state_of(manager, module):
    return manager.get_module_twin(module.device_id, module.module_id).connection_state


def works_in_full(manager, hub, connected, module, n_events):
    """Everything a module can do, on a client that listens: nothing is subscribed here."""
    connected.client.send_message(f"again {n_events}")
    assert len(hub.events_of(module.device_id, n_events)) == n_events
    connected.client.patch_twin_reported_properties({"n": n_events})
    assert connected.client.get_twin()["reported"]["n"] == n_events
    answer = invoke(manager, module)
    assert (answer.status, answer.payload) == (207, {"method": "reboot", "got": {"in": [1, None]}})
    version = desire(manager, module, n=n_events)
    # Before it may come what the client makes of its twin when it is connected again.
    eventually(lambda: connected.next_patch() == {"n": n_events, "$version": version}, "the desired change")
    assert connected.messages.empty()


def refused_for_module(status, code, call, *args):
    """As `refused`, where the body may be of either kind: the header tells (H §2.3)."""
    with pytest.raises(HttpOperationError) as raised:
        call(*args)
    response = raised.value.response
    assert (response.status_code, response.headers["iothub-errorcode"]) == (status, code), response.text


def test_a_module_is_created_shown_listed_updated_and_deleted(manager, device, module):
    assert (module.device_id, module.module_id, module.managed_by) == (device.device_id, "eye", "the line")
    assert module.connection_state == "Disconnected"
    assert module.last_activity_time.year == 1
    keys = module.authentication.symmetric_key
    assert len(base64.b64decode(keys.primary_key)) == len(base64.b64decode(keys.secondary_key)) == 32
    read = manager.get_module(device.device_id, "eye")
    assert (read.etag, read.generation_id) == (module.etag, module.generation_id)
    assert read.authentication.symmetric_key.primary_key == keys.primary_key
    by_thumbprint = manager.create_module_with_x509(device.device_id, "print", "", "Aa" * 20, "bB" * 32)
    assert by_thumbprint.authentication.type == "selfSigned"
    by_authority = manager.create_module_with_certificate_authority(device.device_id, "signed", "")
    assert by_authority.authentication.type == "certificateAuthority"
    assert sorted(one.module_id for one in manager.get_modules(device.device_id)) == ["eye", "print", "signed"]
    new_keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
    updated = manager.update_module_with_sas(device.device_id, "eye", "", module.etag, *new_keys)
    assert updated.authentication.symmetric_key.primary_key == new_keys[0]
    refused_for_module(
        412, "PreconditionFailed", manager.update_module_with_sas, device.device_id, "eye", "", module.etag, *new_keys
    )
    manager.delete_module(device.device_id, "eye")
    refused_for_module(404, "ModuleNotFound", manager.get_module, device.device_id, "eye")


def test_a_module_needs_its_device_and_a_name_of_its_own(manager, device, module, unique_id):
    create = manager.create_module_with_sas
    refused_for_module(409, "ModuleAlreadyExistsOnDevice", create, device.device_id, "eye", "", None, None)
    refused_for_module(404, "DeviceNotFound", create, unique_id("nobody"), "eye", "", None, None)
    refused_for_module(400, "ArgumentInvalid", create, device.device_id, "$edgeAgent", "", None, None)


def test_a_modules_twin_is_its_own(manager, device, module):
    twin = manager.get_module_twin(device.device_id, "eye")
    assert (twin.device_id, twin.module_id, twin.version) == (device.device_id, "eye", 2)
    patched = manager.update_module_twin(device.device_id, "eye", Twin(tags={"floor": 2}), twin.etag)
    assert patched.tags == {"floor": 2}
    replaced = manager.replace_module_twin(device.device_id, "eye", Twin(properties=TwinProperties(desired={"a": 1})))
    assert (replaced.tags, replaced.properties.desired["a"]) == (None, 1)
    assert manager.get_twin(device.device_id).properties.desired["$version"] == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
class TestConnected:
    def test_its_events_name_it_beside_its_device(self, connect, hub, module, transport):
        client = connect(module, transport).client
        message = Message(json.dumps({"t": 21.5}), message_id="m/1", content_type="application/json", content_encoding="utf-8")
        message.custom_properties = {"a b/c": "50% = ½ & +"}
        client.send_message(message)
        client.send_message_to_output("from an output", "out")
        rich, output = hub.events_of(module.device_id, 2)
        for event in (rich, output):
            assert (event["deviceId"], event["moduleId"]) == (module.device_id, module.module_id)
        assert (rich["body"], rich["applicationProperties"]) == ({"t": 21.5}, {"a b/c": "50% = ½ & +"})
        assert output["properties"]["outputName"] == "out"

    def test_it_works_in_full_and_the_hub_knows_it_is_there(self, connect, hub, manager, module, transport):
        connected = connect(module, transport)
        listen(connected)
        works_in_full(manager, hub, connected, module, 1)
        assert state_of(manager, module) == "Connected"
        assert manager.get_twin(module.device_id).connection_state == "Disconnected"
        connected.client.disconnect()
        eventually(lambda: state_of(manager, module) == "Disconnected", "disconnected")
        # What it subscribed to is still there when it comes back; this client asks for it only once.
        connected.client.connect()
        works_in_full(manager, hub, connected, module, 2)

    def test_its_certificate_names_it_and_its_device(
        self, world, hub, manager, provisioning, device, unique_id, tmp_path, transport
    ):
        root = certificates.authority(tmp_path, unique_id("root"))
        provisioning.upload_authority(unique_id("ca"), root)
        manager.create_module_with_certificate_authority(device.device_id, "signed", "")
        for name, is_let_in in [(f"{device.device_id}/signed", True), (device.device_id, False), ("signed", False)]:
            mine = certificates.leaf(tmp_path, name, root)
            x509 = X509(str(mine.cert_file), str(mine.key_file))
            client = IoTHubModuleClient.create_from_x509_certificate(
                x509, hub.host, device.device_id, "signed", **how(world, transport)
            )
            with Device(client) as connected:
                if is_let_in:
                    connected.client.send_message("by authority")
                    assert hub.events_of(device.device_id, 1)
                else:
                    connected.is_refused_to_connect()

    def test_its_devices_key_opens_nothing(self, connect, manager, device, module, transport):
        with pytest.raises(CredentialError):
            connect(module, transport, device.authentication.symmetric_key.primary_key)
        assert state_of(manager, module) == "Disconnected"

    @pytest.mark.parametrize("deed", ["its device disabled", "its device deleted", "deleted"])
    def test_it_is_cut_off_when(self, connect, hub, manager, device, module, transport, deed):
        connected = connect(module, transport, connection_retry_interval=1)
        listen(connected)
        works_in_full(manager, hub, connected, module, 1)
        keys = device.authentication.symmetric_key
        match deed:
            case "its device disabled":
                arguments = (keys.primary_key, keys.secondary_key, "disabled")
                manager.update_device_with_sas(device.device_id, device.etag, *arguments)
            case "its device deleted":
                manager.delete_device(device.device_id)
            case "deleted":
                manager.delete_module(device.device_id, module.module_id)
        began = time.monotonic()
        connected.becomes(False)
        assert time.monotonic() - began < 5
        # It tries again by itself, is refused, and gives up: only the refusal ends its retries.
        connected.is_refused()
        connected.is_refused_to_connect()

    def test_a_second_connection_takes_the_place_of_the_first(self, connect, manager, module, transport):
        first = connect(module, transport, connection_retry=False)
        second = connect(module, transport)
        listen(second)
        first.becomes(False)
        assert invoke(manager, module).status == 207
        assert second.calls.get(timeout=LIMIT_SECS).name == "reboot"
        assert state_of(manager, module) == "Connected"
