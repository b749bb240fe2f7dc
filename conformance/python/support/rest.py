"""What the vendor's Python packages have no call for, over plain HTTPS: enrollments, the log of
events, messages to devices. `requests` finds the certificate authority in REQUESTS_CA_BUNDLE."""

import base64
import hashlib
import hmac
import time
from urllib.parse import quote

import requests

from .waiting import LIMIT_SECS


def member(connection_string, name):
    pairs = dict(pair.split("=", 1) for pair in connection_string.split(";"))
    return pairs[name]


def signed(resource, key, life_secs=600, policy=None):
    """A SAS token."""
    audience, expiry = quote(resource, safe=""), int(time.time()) + life_secs
    digest = hmac.digest(base64.b64decode(key), f"{audience}\n{expiry}".encode(), hashlib.sha256)
    token = f"SharedAccessSignature sr={audience}&sig={quote(base64.b64encode(digest), safe='')}&se={expiry}"
    return f"{token}&skn={policy}" if policy else token


def derived_key(group_key, registration_id):
    """The key of one device of a symmetric-key group."""
    digest = hmac.digest(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


class Place:
    """A host that operators talk to, with the policy that may do everything."""

    def __init__(self, place):
        self.host = place["host"]
        text = place["connectionString"]
        self.key, self.policy = member(text, "SharedAccessKey"), member(text, "SharedAccessKeyName")

    def call(self, method, path, body=None, if_match=None, **query):
        answer = requests.request(
            method,
            f"https://{self.host}{path}",
            params=query,
            json=body,
            headers={"Authorization": signed(self.host, self.key, policy=self.policy), "If-Match": if_match},
            timeout=LIMIT_SECS,
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class Provisioning(Place):
    def enroll(self, registration_id, attestation, **more):
        body = {"registrationId": registration_id, "attestation": attestation, **more}
        return self.call("PUT", f"/enrollments/{registration_id}", body, **{"api-version": "2021-10-01"})

    def enroll_group(self, group_id, attestation, **more):
        body = {"enrollmentGroupId": group_id, "attestation": attestation, **more}
        return self.call("PUT", f"/enrollmentGroups/{group_id}", body, **{"api-version": "2021-10-01"})

    def upload_authority(self, name, certificate):
        return self.call("PUT", f"/induct/v1/certificates/{name}", {"certificate": certificate.pem, "isVerified": True})


class Hub(Place):
    def send(self, device_id, **message):
        """Puts a message into a device's queue."""
        return self.call("POST", f"/induct/v1/devices/{device_id}/messages", message)

    def feedback_on(self, message_id):
        """What the hub tells of a message; what it tells stays until somebody forgets it."""
        records = self.call("GET", "/messages/serviceBound/feedback") or []
        return [record for record in records if record["originalMessageId"] == message_id]

    def events_of(self, device_id, n):
        """All events of a device, once there are `n`; there must not be more."""
        found, query, until = [], {"from": "earliest"}, time.monotonic() + LIMIT_SECS
        while len(found) < n:
            assert time.monotonic() < until, f"{len(found)} events of {device_id} instead of {n}: {found}"
            page = self.call("GET", "/induct/v1/events", deviceId=device_id, wait=5, **query)
            found += page["events"]
            query = {"cursor": page["cursor"]}
        found += self.call("GET", "/induct/v1/events", deviceId=device_id, **query)["events"]
        assert len(found) == n, found
        return found
