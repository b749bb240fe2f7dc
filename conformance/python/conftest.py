"""The hub's operators, through PyPI `azure-iot-hub`, and how a hub tells them no.

`conformance/run` starts the servers and describes them in the file `CONFORMANCE_WORLD` names. The
certificate authority reaches the operators' client through `REQUESTS_CA_BUNDLE` and nothing else.
"""

import json
import os
import re
import uuid

import pytest
from azure.iot.hub import IoTHubRegistryManager
from msrest.exceptions import HttpOperationError
from support.rest import Hub, Provisioning

TRACKING = re.compile(r"^Tracking ID:[0-9a-f]{32}.*TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d$")


@pytest.fixture(scope="session")
def world():
    with open(os.environ["CONFORMANCE_WORLD"], encoding="utf-8") as described:
        return json.load(described)


@pytest.fixture(scope="session")
def manager(world):
    return IoTHubRegistryManager.from_connection_string(world["hubs"]["hub-1"]["connectionString"])


@pytest.fixture(scope="session")
def other_manager(world):
    return IoTHubRegistryManager.from_connection_string(world["hubs"]["hub-2"]["connectionString"])


@pytest.fixture(scope="session")
def hub(world):
    """The hub of `manager`, for what its package has no call for."""
    return Hub(world["hubs"]["hub-1"])


@pytest.fixture(scope="session")
def provisioning(world):
    return Provisioning(world["provisioning"])


@pytest.fixture(scope="session")
def unique_id():
    """Makes ids nobody else in any suite uses."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def device(manager, unique_id):
    """A device of this test, with keys the hub made."""
    return manager.create_device_with_sas(unique_id("py"), None, None, "enabled")


@pytest.fixture
def refused():
    """Runs a call that must be refused with this status and this code."""

    def check(status, code, call, *args, **kwargs):
        with pytest.raises(HttpOperationError) as raised:
            call(*args, **kwargs)
        response = raised.value.response
        assert response.status_code == status, response.text
        body = response.json()
        assert body["Message"].startswith(f"ErrorCode:{code};"), response.text
        assert TRACKING.match(body["ExceptionMessage"]), response.text
        assert response.headers["iothub-errorcode"] == code
        return body["Message"].split(";", 1)[1]

    return check
