"""Devices being provisioned through `azure-iot-device` over MQTT, on port 8883 and in WebSockets.

The client waits two seconds before its first poll, whatever the service says. So every case begins
at once, when the first test asks for one, and each test looks at the end of its own.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from azure.iot.device import ProvisioningDeviceClient, X509
from azure.iot.device.exceptions import ClientError, ServiceError
from support import certificates
from support.devices import TRANSPORTS, how
from support.rest import derived_key
from support.waiting import LIMIT_SECS

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)

KEYS = {"type": "symmetricKey"}


@dataclass
class Outcome:
    """What a case made, and what the client returned or threw."""

    registration_id: str
    result: object = None
    error: Exception = None


@dataclass
class Scene:
    """Makes what a case needs."""

    world: dict
    provisioning: object
    unique_id: object
    folder: object
    transport: str

    def individual(self, attestation=KEYS, registration_id=None, **more):
        return self.provisioning.enroll(registration_id or self.unique_id("press"), attestation, **more)

    def group(self, attestation=KEYS):
        return self.provisioning.enroll_group(self.unique_id("line"), attestation)

    def with_key(self, registration_id, key, id_scope=None, payload=None):
        return self.register(registration_id, payload, ProvisioningDeviceClient.create_from_symmetric_key(
            self.world["provisioning"]["host"], registration_id, id_scope or self.world["idScope"], key,
            **how(self.world, self.transport),
        ))

    def with_certificate(self, registration_id, certificate):
        x509 = X509(str(certificate.cert_file), str(certificate.key_file))
        return self.register(registration_id, None, ProvisioningDeviceClient.create_from_x509_certificate(
            self.world["provisioning"]["host"], registration_id, self.world["idScope"], x509,
            **how(self.world, self.transport),
        ))

    def register(self, registration_id, payload, client):
        if payload:
            client.provisioning_payload = payload
        outcome = Outcome(registration_id)
        try:
            outcome.result = client.register()
        except Exception as error:  # pylint: disable=broad-except
            outcome.error = error
        return outcome


def own_key(scene, slot="primaryKey", **more):
    enrollment = scene.individual(**more)
    key = enrollment["attestation"]["symmetricKey"][slot]
    return scene.with_key(enrollment["registrationId"], key, payload={"model": "x", "list": [1, None, "three"]})


def derived_from(scene, slot):
    key = scene.group()["attestation"]["symmetricKey"][slot]
    registration_id = scene.unique_id("a:b.c_d")
    return scene.with_key(registration_id, derived_key(key, registration_id))


def wrong_key(scene):
    enrollment = scene.individual()
    other = scene.individual()["attestation"]["symmetricKey"]["primaryKey"]
    return scene.with_key(enrollment["registrationId"], other)


def nobody_enrolled(scene):
    registration_id = scene.unique_id("stranger")
    return scene.with_key(registration_id, derived_key("a2V5", registration_id))


def foreign_scope(scene):
    enrollment = scene.individual()
    key = enrollment["attestation"]["symmetricKey"]["primaryKey"]
    return scene.with_key(enrollment["registrationId"], key, id_scope="0neFFFFFFFF")


def self_signed(scene, presented=None):
    registration_id = scene.unique_id("cnc")
    mine = certificates.leaf(scene.folder, registration_id)
    slot = {"primary": {"certificate": mine.pem}}
    scene.individual({"type": "x509", "x509": {"clientCertificates": slot}}, registration_id)
    return scene.with_certificate(registration_id, presented or mine)


def of_an_authority(scene, present_chain):
    root = certificates.authority(scene.folder, scene.unique_id("root"))
    line = certificates.authority(scene.folder, scene.unique_id("line"), root)
    signing = {"primary": {"certificate": (root if present_chain else line).pem}}
    scene.group({"type": "x509", "x509": {"signingCertificates": signing}})
    registration_id = scene.unique_id("cnc")
    mine = certificates.leaf(scene.folder, registration_id, line)
    return scene.with_certificate(registration_id, mine.presenting(line) if present_chain else mine)


def stolen_name(scene):
    return self_signed(scene, presented=certificates.leaf(scene.folder, scene.unique_id("thief")))


CASES = {
    "primary key": own_key,
    "secondary key": partial(own_key, slot="secondaryKey"),
    "key derived from the group's primary": partial(derived_from, slot="primaryKey"),
    "key derived from the group's secondary": partial(derived_from, slot="secondaryKey"),
    "self-signed certificate": self_signed,
    "certificate of an enrolled intermediate": partial(of_an_authority, present_chain=False),
    "certificate and chain to an enrolled root": partial(of_an_authority, present_chain=True),
    "wrong key": wrong_key,
    "nobody enrolled it": nobody_enrolled,
    "foreign ID scope": foreign_scope,
    "certificate of another": stolen_name,
    "disabled": partial(own_key, provisioningStatus="disabled"),
    "no hub": partial(own_key, allocationPolicy="static", iotHubs=["nowhere.induct.test"]),
}


@pytest.fixture(scope="module")
def ends(world, provisioning, unique_id, tmp_path_factory):
    """How each case ended, by its name and its transport."""
    with ThreadPoolExecutor(max_workers=len(CASES) * len(TRANSPORTS)) as pool:
        begun = {
            (name, transport): pool.submit(
                case, Scene(world, provisioning, unique_id, tmp_path_factory.mktemp("certificates"), transport)
            )
            for name, case in CASES.items()
            for transport in TRANSPORTS
        }
        yield lambda name, transport: begun[name, transport].result(timeout=LIMIT_SECS)


def is_assigned(world, outcome):
    assert outcome.error is None, repr(outcome.error.__cause__)
    result = outcome.result
    assert result.status == "assigned"
    assert result.operation_id
    state = result.registration_state
    assert state.device_id == outcome.registration_id
    assert state.sub_status == "initialAssignment"
    assert state.assigned_hub in [hub["host"] for hub in world["hubs"].values()]
    assert state.created_date_time and state.last_update_date_time and state.etag


def is_refused(outcome, words):
    """The client wraps what it was told in an error that says nothing."""
    assert isinstance(outcome.error, ClientError), outcome
    assert isinstance(outcome.error.__cause__, ServiceError), repr(outcome.error.__cause__)
    assert str(outcome.error.__cause__) == words


@pytest.mark.parametrize("case", list(CASES)[:7])
def test_a_device_is_provisioned_with(ends, world, transport, case):
    is_assigned(world, ends(case, transport))


def test_a_device_that_proves_nothing_is_refused(ends, provisioning, transport):
    for case in ("wrong key", "nobody enrolled it", "certificate of another"):
        outcome = ends(case, transport)
        is_refused(outcome, "register request returned a service error status code 401")
    with pytest.raises(AssertionError, match="404203"):
        provisioning.call("GET", f"/registrations/{outcome.registration_id}", **{"api-version": "2021-10-01"})


def test_a_foreign_id_scope_is_not_found(ends, transport):
    is_refused(ends("foreign ID scope", transport), "register request returned a service error status code 404")


def test_a_device_hears_that_its_enrollment_is_disabled(ends, transport):
    words = "Query Status Operation encountered an invalid registration status disabled with a status code of 200"
    is_refused(ends("disabled", transport), words)


def test_a_device_hears_that_no_hub_may_take_it(ends, transport):
    words = "Query Status operation returned a failed registration status with a status code of 200"
    is_refused(ends("no hub", transport), words)
