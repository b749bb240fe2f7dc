"""Queries through `IoTHubRegistryManager`, which makes a twin of whatever comes back."""

import uuid

import pytest
from azure.iot.hub.models import AuthenticationMechanism, ExportImportDevice, QuerySpecification, SymmetricKey

SUITE = f"suite-{uuid.uuid4().hex[:10]}"
IDS = [f"{SUITE}-{n}" for n in range(7)]


@pytest.fixture(scope="module", autouse=True)
def devices(manager):
    result = manager.bulk_create_or_update_devices(
        [
            ExportImportDevice(
                id=id,
                import_mode="create",
                status="disabled" if n == 0 else "enabled",
                authentication=AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey()),
                tags={"suite": SUITE, "rank": n},
            )
            for n, id in enumerate(IDS)
        ]
    )
    assert result.is_successful is True


def query(text):
    return QuerySpecification(query=text)


def test_a_query_shows_twins_page_by_page(manager):
    pages, token = [], None
    while token is not None or not pages:
        answer = manager.query_iot_hub(query(f"SELECT * FROM devices WHERE tags.suite = '{SUITE}'"), token, 3)
        assert answer.type == "Twin"
        pages.append([twin.device_id for twin in answer.items])
        token = answer.continuation_token
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(sum(pages, [])) == IDS


def test_a_query_selects_by_tags_and_status(manager):
    def selected(condition):
        text = f"SELECT * FROM devices WHERE tags.suite = '{SUITE}' AND {condition}"
        return sorted(twin.device_id for twin in manager.query_iot_hub(query(text)).items)

    assert selected("status = 'disabled'") == IDS[:1]
    assert selected("tags.rank >= 5") == IDS[5:]
    assert selected(f"deviceId = '{IDS[3]}'") == [IDS[3]]
    assert selected("tags.rank > 100") == []


def test_a_query_of_some_members_says_it_is_raw(manager):
    answer = manager.query_iot_hub(query(f"SELECT deviceId FROM devices WHERE deviceId = '{IDS[2]}'"))
    assert answer.type == "Raw"
    assert [twin.device_id for twin in answer.items] == [IDS[2]]
    assert answer.items[0].etag is None


def test_a_query_that_cannot_be_read_is_refused(manager, refused):
    assert refused(400, "ArgumentInvalid", manager.query_iot_hub, query("SELECT")).startswith("BadRequest")


def test_a_token_nobody_gave_is_refused(manager, refused):
    refused(400, "ArgumentInvalid", manager.query_iot_hub, query("SELECT * FROM devices"), "no such token", 2)
