//! What hubs heard from the demo's devices, read as any program would.

use std::{collections::BTreeMap, time::Duration};

use model::Json;
use tokio::time::{Instant, timeout_at};

use super::stage::{HUBS, Stage};
use crate::cli::{
    Failure,
    api::{Api, own_path, with_options},
};

/// How long events are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event.
pub(super) struct Event {
    /// Who sent it.
    pub(super) device_id: String,
    /// What it says.
    pub(super) body: Json,
}

/// A reader of one hub's events.
pub(super) struct Reader {
    api: Api,
    hub: String,
    /// Where to go on.
    cursor: String,
}

impl Reader {
    /// A reader that begins with what comes from now on.
    pub(super) async fn from_now_on(stage: &Stage, hub: &str) -> Result<Self, Failure> {
        let api = stage.hub(hub).await?;
        let (_, cursor) = page(&api, &[("from", Some("latest")), ("limit", Some("1"))]).await?;
        Ok(Self { api, hub: hub.to_owned(), cursor })
    }

    /// A reader that begins with the oldest event, and that event.
    async fn from_the_beginning(stage: &Stage, hub: &str) -> Result<(Self, Vec<Event>), Failure> {
        let api = stage.hub(hub).await?;
        let (events, cursor) = page(&api, &[("from", Some("earliest"))]).await?;
        Ok((Self { api, hub: hub.to_owned(), cursor }, events))
    }

    /// Waits for the next events.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, Failure> {
        let options = [("cursor", Some(self.cursor.as_str())), ("wait", Some("5"))];
        let (events, cursor) = page(&self.api, &options).await?;
        self.cursor = cursor;
        Ok(events)
    }

    /// What there is by now, without waiting for more; a page of it.
    pub(super) async fn now(&mut self) -> Result<Vec<Event>, Failure> {
        let (events, cursor) =
            page(&self.api, &[("cursor", Some(self.cursor.as_str())), ("limit", Some("1000"))])
                .await?;
        self.cursor = cursor;
        Ok(events)
    }

    /// Reads on until an event of this device comes; says which devices were heard on the way.
    pub(super) async fn until(&mut self, id: &str) -> Result<Vec<String>, Failure> {
        let mut heard = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = timeout_at(deadline, self.next()).await.map_err(|_| {
                Failure::new(format!("{} should hear from {id}, and did not.", self.hub))
            })??;
            heard.extend(events.into_iter().map(|event| event.device_id));
            if heard.iter().any(|device_id| device_id == id) {
                return Ok(heard);
            }
        }
    }
}

/// Reads all hubs from the beginning until each of so many devices was heard: how many events
/// there were, and one of each device.
pub(super) async fn of_all_devices(
    stage: &Stage,
    n_devices: usize,
) -> Result<(usize, BTreeMap<String, Json>), Failure> {
    let (mut n_events, mut heard) = (0, BTreeMap::new());
    let mut take = |events: Vec<Event>| {
        n_events += events.len();
        for Event { device_id, body } in events {
            heard.entry(device_id).or_insert(body);
        }
        heard.len()
    };
    let mut readers = Vec::new();
    for (hub, _) in HUBS {
        let (reader, events) = Reader::from_the_beginning(stage, hub).await?;
        readers.push(reader);
        take(events);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        for reader in &mut readers {
            // A hub without devices has nothing to wait for.
            let (events, cursor) =
                page(&reader.api, &[("cursor", Some(reader.cursor.as_str())), ("wait", Some("1"))])
                    .await?;
            reader.cursor = cursor;
            if take(events) >= n_devices {
                return Ok((n_events, heard));
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "The hubs should have heard from {n_devices} devices, and heard from {}.",
                take(Vec::new())
            )));
        }
    }
}

/// One page of events, and where the next one begins.
async fn page(
    api: &Api,
    options: &[(&str, Option<&str>)],
) -> Result<(Vec<Event>, String), Failure> {
    let page = api.get(&with_options(&own_path(["events"]), options)).await?;
    let wrong = || Failure::new(format!("The hub's answer is no list of events: {page}"));
    let Some(Json::Array(events)) = page.get("events") else { return Err(wrong()) };
    let events = events.iter().map(|event| {
        let device_id = event.get("deviceId").and_then(Json::as_str)?.to_owned();
        Some(Event { device_id, body: event.get("body").cloned().unwrap_or(Json::Null) })
    });
    let events = events.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let cursor = page.get("cursor").and_then(Json::as_str).ok_or_else(wrong)?;
    Ok((events, cursor.to_owned()))
}
