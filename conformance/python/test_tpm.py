"""What Induct adds to attestation by TPM: groups of TPMs by who made them, and a maker's word that
an enrollment demands. The vendor's clients show no certificate, so a device of our own asks, with
`tpm2-tools` on a software TPM that has one."""

import pytest
from support.control import control
from support.devices import Device
from support.rest import Hub, Provisioning
from support.tpm import Maker, TpmDevice, base64_of_pem

GROUPS = "/induct/v1/tpmEnrollmentGroups"


@pytest.fixture
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def tpm(tmp_path_factory, maker):
    # The path of a socket is short.
    with maker.make(tmp_path_factory.mktemp("tpm")) as tpm:
        yield tpm


@pytest.fixture
def other_maker(tmp_path_factory):
    """One of the same name, who has made a TPM too: before that a maker has no certificates."""
    other = Maker(tmp_path_factory.mktemp("maker"))
    other.make(tmp_path_factory.mktemp("tpm"))
    return other


@pytest.fixture
def chain(tpm, maker):
    """What a device shows: its own certificate, and the one above it."""
    return [tpm.certificate, base64_of_pem(maker.issuer)]


def primary(certificate):
    return {"primary": {"certificate": certificate}}


@pytest.fixture
def enroll_group(provisioning, hub, unique_id):
    """Enrolls the TPMs that this one certified."""

    def enroll(issuer, **more):
        group_id = unique_id("tpms")
        body = {
            "enrollmentGroupId": group_id,
            "attestation": {"type": "tpm", "tpm": {"issuers": primary(issuer)}},
            "allocationPolicy": "static",
            "iotHubs": [hub.host],
            **more,
        }
        return provisioning.call("PUT", f"{GROUPS}/{group_id}", body)

    return enroll


@pytest.fixture
def enrolled(world, provisioning, hub, unique_id, tpm):
    """A device with an enrollment of its own, as the vendor's API makes it."""
    device = TpmDevice(world, tpm, registration_id=unique_id("press"))
    provisioning.enroll(
        device.registration_id, {"type": "tpm", "tpm": device.keys}, allocationPolicy="static", iotHubs=[hub.host]
    )
    return device


def is_assigned(state):
    assert state["status"] == "assigned", state


def reports_in(world, hub, tpm, state, n_events=1):
    """Sends the device's n-th event, by a token that the TPM signs."""
    assert state["assignedHub"] == hub.host
    token = tpm.token(f"{hub.host}/devices/{state['deviceId']}")
    with Device.with_token(world, token, "mqtt") as connected:
        connected.client.send_message(f"event {n_events}")
    assert len(hub.events_of(state["deviceId"], n_events)) == n_events


def is_refused(answer, code):
    told = answer.json()
    assert (answer.status_code, told["errorCode"]) == (code // 1000, code), answer.text
    assert told["trackingId"] and told["message"]
    # A 401 with a key in it is a challenge.
    assert "authenticationKey" not in told


def test_a_tpm_is_provisioned_and_signs_for_its_hub(world, hub, tpm, enrolled):
    state = enrolled.register()
    is_assigned(state)
    reports_in(world, hub, tpm, state)
    again = enrolled.register()
    assert again["deviceId"] == state["deviceId"]
    reports_in(world, hub, tpm, again, n_events=2)


def test_who_is_not_enrolled_and_what_scope_is_not_ours_is_told_by_a_code(world, tpm, enrolled, unique_id):
    is_refused(TpmDevice(world, tpm, registration_id=unique_id("stranger")).ask(), 404201)
    is_refused(TpmDevice({**world, "idScope": "0neFFFFFFFF"}, tpm, registration_id=enrolled.registration_id).ask(), 404000)


def test_a_key_of_no_challenge_answers_none(world, tpm, enrolled):
    enrolled.register()
    # The key in the TPM is its hub's now.
    is_refused(enrolled.ask(tpm.token(enrolled.resource, "registration")), 401002)


def test_a_challenge_is_answered_when_the_server_was_stopped_and_started_meanwhile(world, tpm, unique_id):
    there = world["restarted"]
    device = TpmDevice(there, tpm, registration_id=unique_id("press"))
    Provisioning(there["provisioning"]).enroll(device.registration_id, {"type": "tpm", "tpm": device.keys})
    device.take_challenge()
    control(world, "stop")
    control(world, "start")
    state = device.answer()
    is_assigned(state)
    reports_in(world, Hub(there["hubs"]["hub-3"]), tpm, state)


@pytest.mark.parametrize("by", ["root", "issuer"])
def test_a_group_takes_the_tpms_of_a_maker(world, hub, provisioning, enroll_group, maker, tpm, chain, by):
    group = enroll_group(getattr(maker, by), initialTwin={"tags": {"line": 4}})
    # Below an enrolled issuer its own certificate is enough.
    device = TpmDevice(world, tpm, chain if by == "root" else chain[:1])
    state = device.register()
    is_assigned(state)
    assert state["deviceId"] == tpm.registration_id
    reports_in(world, hub, tpm, state)
    assert hub.call("GET", f"/twins/{state['deviceId']}", **{"api-version": "2021-04-12"})["tags"] == {"line": 4}
    records = provisioning.call("POST", f"/registrations/{group['enrollmentGroupId']}/query", **{"api-version": "2021-10-01"})
    assert [record["registrationId"] for record in records] == [tpm.registration_id]


def test_a_group_takes_no_tpm_of_another_maker_of_the_same_name(world, enroll_group, other_maker, tpm, chain):
    enroll_group(other_maker.root)
    enroll_group(other_maker.issuer)
    is_refused(TpmDevice(world, tpm, chain).ask(), 404201)
    is_refused(TpmDevice(world, tpm, [chain[0], base64_of_pem(other_maker.issuer)]).ask(), 404201)


def test_a_group_takes_no_tpm_that_shows_no_certificate_or_one_of_another(
    world, enroll_group, maker, tpm, chain, tmp_path_factory
):
    enroll_group(maker.root)
    is_refused(TpmDevice(world, tpm).ask(), 404201)
    # Of a chain, the first has to be the endorsement key's.
    is_refused(TpmDevice(world, tpm, chain[1:]).ask(), 404201)
    with maker.make(tmp_path_factory.mktemp("tpm")) as another:
        is_refused(TpmDevice(world, another, chain).ask(), 404201)
    is_assigned(TpmDevice(world, tpm, chain).register())


def test_a_group_knows_a_tpm_by_the_name_its_key_gives_it(world, enroll_group, maker, tpm, chain, unique_id):
    enroll_group(maker.root)
    is_refused(TpmDevice(world, tpm, chain, registration_id=unique_id("press")).ask(), 404201)


def test_a_suspended_group_takes_nobody_until_it_is_enabled_again(world, hub, provisioning, enroll_group, maker, tpm, chain):
    group = enroll_group(maker.root, provisioningStatus="disabled")
    path = f"{GROUPS}/{group['enrollmentGroupId']}"
    device = TpmDevice(world, tpm, chain)
    assert device.register()["status"] == "disabled"
    group = provisioning.call("PUT", path, {**group, "provisioningStatus": "enabled"}, if_match=group["etag"])
    state = device.register()
    is_assigned(state)
    reports_in(world, hub, tpm, state)
    provisioning.call("PUT", path, {**group, "provisioningStatus": "disabled"}, if_match=group["etag"])
    assert device.register()["status"] == "disabled"
    provisioning.call("DELETE", path)
    is_refused(device.ask(), 404201)


def test_an_enrollment_of_its_own_goes_before_a_group(world, provisioning, enroll_group, maker, tpm, chain):
    enroll_group(maker.root)
    device = TpmDevice(world, tpm, chain)
    provisioning.enroll(device.registration_id, {"type": "tpm", "tpm": device.keys}, provisioningStatus="disabled")
    assert device.register()["status"] == "disabled"
    provisioning.call("DELETE", f"/enrollments/{device.registration_id}", **{"api-version": "2021-10-01"})
    is_assigned(device.register())


def test_a_demanded_certificate_is_shown_by_the_device(
    world, hub, provisioning, enrolled, maker, other_maker, tpm, chain
):
    path = f"/induct/v1/enrollments/{enrolled.registration_id}/endorsement"
    endorsed = TpmDevice(world, tpm, chain, enrolled.registration_id)
    provisioning.call("PUT", path, {"roots": primary(other_maker.root)})
    for device in (enrolled, endorsed):
        is_refused(device.ask(), 401002)
    provisioning.call("PUT", path, {"roots": primary(maker.root)})
    is_refused(enrolled.ask(), 401002)
    state = endorsed.register()
    is_assigned(state)
    reports_in(world, hub, tpm, state)
    provisioning.call("DELETE", path)
    is_assigned(enrolled.register())


def test_a_demanded_certificate_may_be_in_the_enrollment(world, hub, provisioning, enrolled, maker, tpm, chain):
    path = f"/induct/v1/enrollments/{enrolled.registration_id}/endorsement"
    shown = provisioning.call("PUT", path, {"roots": primary(maker.root), "certificates": chain})
    assert shown["certificates"] == chain
    # Which is how a device of the vendor's clients can be held to one.
    state = enrolled.register()
    is_assigned(state)
    reports_in(world, hub, tpm, state)
