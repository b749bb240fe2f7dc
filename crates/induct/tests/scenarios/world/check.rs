//! The one check of the disenroll table (O §2): let a device register, and look at what it is
//! told, at the record the operator sees, and at the identity in the hub's registry.

use serde_json::Value;

use super::{Answer, Device, HUBS, World};

/// What the next registration is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Assigned to the first hub.
    Assigned,
    /// Accepted, and settled as `disabled` (D §5.1).
    Disabled,
    /// 401 with 401002: nobody knows it, or it proved nothing.
    Unauthorized,
    /// 429 with 429002: there are as many records as there may be.
    Full,
}

/// The record that the operator sees afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// There is none.
    None,
    /// There is one with this status.
    With(&'static str),
}

/// The identity on the first hub afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// There is none.
    Gone,
    /// There is one, and it may connect.
    Enabled,
    /// There is one that an operator of the hub disabled.
    Disabled,
}

/// All three, as they were found.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The state that the device was told, if its operation settled.
    pub(crate) state: Value,
    /// The record; `null` if there is none.
    pub(crate) record: Value,
    /// The identity; `null` if there is none.
    pub(crate) identity: Value,
}

/// Lets the device register and compares.
///
/// What a refused device leaves behind is compared with what was there before: nothing may move.
pub(crate) async fn check(
    world: &World,
    device: &Device,
    next: Next,
    record: Record,
    identity: Identity,
) -> Seen {
    let id = &device.id;
    let before = (world.record(id).await, world.identity(HUBS[0], id).await);
    let answer = device.register(world).await;
    let after = (world.record(id).await, world.identity(HUBS[0], id).await);
    let state = match answer {
        Answer::Refused { code, message } => {
            let expected = match next {
                Next::Unauthorized => 401_002,
                Next::Full => 429_002,
                Next::Assigned | Next::Disabled => panic!("{id} is refused: {code} {message}"),
            };
            assert_eq!(code, expected, "{id}: {message}");
            assert_eq!(before, after, "a refused device writes nothing");
            Value::Null
        }
        Answer::Settled(state) => {
            let expected = match next {
                Next::Assigned => "assigned",
                Next::Disabled => "disabled",
                Next::Unauthorized | Next::Full => panic!("{id} is not refused: {state}"),
            };
            assert_eq!(state["status"], expected, "{id}: {state}");
            check_state(device, &state, after.0.as_ref());
            state
        }
    };
    if next == Next::Disabled {
        assert_eq!(before.1, after.1, "a disabled enrollment never touches the hub");
    }
    compare(id, record, identity, &after);
    Seen { state, record: after.0.unwrap_or_default(), identity: after.1.unwrap_or_default() }
}

/// Compares what is there with what is expected, without any registration.
pub(crate) async fn check_without_registering(
    world: &World,
    id: &str,
    record: Record,
    identity: Identity,
) -> Seen {
    let now = (world.record(id).await, world.identity(HUBS[0], id).await);
    compare(id, record, identity, &now);
    Seen {
        state: Value::Null,
        record: now.0.unwrap_or_default(),
        identity: now.1.unwrap_or_default(),
    }
}

fn compare(id: &str, record: Record, identity: Identity, seen: &(Option<Value>, Option<Value>)) {
    let found = seen.0.as_ref().map(|record| record["status"].as_str().unwrap_or_default());
    match (record, found) {
        (Record::None, None) => {}
        (Record::With(expected), Some(status)) => assert_eq!(status, expected, "record of {id}"),
        (expected, _) => panic!("record of {id}: expected {expected:?}, found {:?}", seen.0),
    }
    let found = seen.1.as_ref().map(|identity| identity["status"].as_str().unwrap_or_default());
    let expected = match identity {
        Identity::Gone => None,
        Identity::Enabled => Some("enabled"),
        Identity::Disabled => Some("disabled"),
    };
    assert_eq!(found, expected, "identity of {id}: {:?}", seen.1);
}

/// What the device is told agrees with what the operator sees (D §5.7), and says no more of a
/// device that is not assigned than that (D §0.7).
fn check_state(device: &Device, state: &Value, record: Option<&Value>) {
    let record = record.expect("a settled operation leaves a record");
    let same = [
        "registrationId",
        "createdDateTimeUtc",
        "lastUpdatedDateTimeUtc",
        "etag",
        "status",
        "assignedHub",
        "deviceId",
    ];
    for member in same {
        assert_eq!(state.get(member), record.get(member), "{member}: {state} and {record}");
    }
    let told = state["registrationId"].as_str().unwrap_or_default();
    assert!(told.eq_ignore_ascii_case(&device.id), "{state}");
    for member in ["createdDateTimeUtc", "lastUpdatedDateTimeUtc", "etag"] {
        assert!(state[member].is_string(), "{member}: {state}");
    }
    let is_assigned = state["status"] == "assigned";
    for member in ["assignedHub", "deviceId", "substatus"] {
        assert_eq!(state[member].is_string(), is_assigned, "{member}: {state}");
    }
    if is_assigned {
        assert_eq!(state["assignedHub"], HUBS[0], "{state}");
    }
}
