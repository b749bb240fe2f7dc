//! The small answers of a registry: counts, purges, the size of a listing (H §2.5, §2.9, §7).

use model::{DeviceCounts, DeviceId, HubRefusal, Json};

use crate::write::Object;

/// How many devices `GET /devices` lists at most, and when nothing is said (H §2.5).
const MAX_TOP: usize = 1000;

/// The answer to `GET /statistics/devices`.
#[must_use]
pub fn device_statistics(counts: &DeviceCounts) -> Json {
    Object::new()
        .with("totalDeviceCount", counts.total)
        .with("enabledDeviceCount", counts.enabled)
        .with("disabledDeviceCount", counts.disabled)
        .build()
}

/// The answer to `GET /statistics/service`.
#[must_use]
pub fn service_statistics(counts: &DeviceCounts) -> Json {
    Object::new().with("connectedDeviceCount", counts.connected).build()
}

/// The answer to `DELETE /devices/{id}/commands`.
#[must_use]
pub fn purged(device_id: &DeviceId, n_messages: u64) -> Json {
    Object::new()
        .with("totalMessagesPurged", n_messages)
        .with("deviceId", device_id.as_str())
        .with("moduleId", Json::Null)
        .build()
}

/// The only row of a counting query's answer.
#[must_use]
pub fn count_row(name: &str, count: u64) -> Json {
    Object::new().with(name, count).build()
}

/// The `top` of `GET /devices`: 1 to 1000, 1000 when absent.
///
/// # Errors
/// [`HubRefusal::ArgumentInvalid`]
pub fn page_top(text: Option<&str>) -> Result<usize, HubRefusal> {
    match text.map(|text| text.trim().parse::<usize>()) {
        None => Ok(MAX_TOP),
        Some(Ok(top @ 1..=MAX_TOP)) => Ok(top),
        Some(_) => {
            Err(HubRefusal::ArgumentInvalid(format!("top: expected a number from 1 to {MAX_TOP}")))
        }
    }
}
