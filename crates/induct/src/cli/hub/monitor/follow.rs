//! Reads a hub's events one after the other, over as many connections as it takes.

use std::{collections::VecDeque, time::Duration};

use model::Json;
use tokio::time::sleep;
use tracing::debug;

use super::sse::{BadStream, Reader, Sent};
use crate::{
    cli::{
        api::{Api, NoStream, own_path, with_options},
        complaint::Complaint,
    },
    client::Streamed,
};

/// How long to wait before the next try to connect, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// The most texts and values in an event: see `cli::api`.
const EVENT_LIMITS: json::Limits =
    json::Limits { max_bytes: 8 * 1024 * 1024, max_depth: 128, max_values: 1_000_000 };

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// With the oldest event there is.
    Earliest,
    /// With the next one.
    Latest,
    /// With the first one taken at this moment or later, RFC 3339.
    Time(String),
}

/// A reader of events.
pub(super) struct Follower<'a> {
    api: &'a Api,
    device_id: Option<&'a str>,
    /// Where to go on, in the server's words.
    cursor: String,
    waiting: VecDeque<(Option<String>, Json)>,
    stream: Option<(Streamed, Reader)>,
    pause: Duration,
}

impl<'a> Follower<'a> {
    /// Finds the place to begin. From then on nothing is missed, whatever becomes of connections.
    ///
    /// # Errors
    /// What the hub answered.
    pub(super) async fn begin(
        api: &'a Api,
        start: Start,
        device_id: Option<&'a str>,
    ) -> Result<Self, Complaint> {
        let from = match &start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
            Start::Time(time) => time,
        };
        let options = [("from", Some(from)), ("deviceId", device_id), ("limit", Some("1"))];
        let page = api.get(&with_options(&own_path(["events"]), &options)).await?;
        let cursor = page.get("cursor").and_then(Json::as_str).ok_or_else(not_ours)?.to_owned();
        let waiting = match page.get("events") {
            Some(Json::Array(events)) => events.iter().map(|e| (None, e.clone())).collect(),
            _ => return Err(not_ours()),
        };
        Ok(Self { api, device_id, cursor, waiting, stream: None, pause: Duration::ZERO })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The hub refused to go on.
    pub(super) async fn next(&mut self) -> Result<Json, Complaint> {
        loop {
            if let Some((id, event)) = self.waiting.pop_front() {
                if let Some(id) = id {
                    self.cursor = id;
                }
                return Ok(event);
            }
            match self.stream.take() {
                None => self.connect().await?,
                Some((mut stream, mut reader)) => match stream.next_piece().await {
                    Ok(Some(piece)) => {
                        let sent = reader.push(&piece).map_err(|BadStream| not_ours())?;
                        self.take(sent)?;
                        self.stream = Some((stream, reader));
                    }
                    Ok(None) => debug!("the stream of events ended; going on from where it was"),
                    Err(error) => debug!("the stream of events broke: {error}"),
                },
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Complaint> {
        let options = [("cursor", Some(self.cursor.as_str())), ("deviceId", self.device_id)];
        let path = with_options(&own_path(["events"]), &options);
        // Also where it ended without a word: a server that only closes is not asked in a loop.
        sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
        match self.api.stream(&path).await {
            Ok(stream) => {
                self.stream = Some((stream, Reader::default()));
                Ok(())
            }
            Err(NoStream::NotNow(complaint)) => {
                debug!("no stream of events for now: {complaint}");
                Ok(())
            }
            Err(NoStream::Refused(complaint)) => Err(complaint),
        }
    }

    fn take(&mut self, sent: Vec<Sent>) -> Result<(), Complaint> {
        for Sent { id, data } in sent {
            self.pause = Duration::ZERO;
            match data {
                Some(data) => {
                    let event = EVENT_LIMITS.parse(data.as_bytes()).map_err(|_| not_ours())?;
                    self.waiting.push_back((id, event));
                }
                // Only a place; it counts once everything before it was handed out.
                None => match (self.waiting.back_mut(), id) {
                    (Some((last, _)), Some(id)) => *last = Some(id),
                    (None, Some(id)) => self.cursor = id,
                    (_, None) => {}
                },
            }
        }
        Ok(())
    }
}

fn not_ours() -> Complaint {
    Complaint::new("The server's answer is no list of events.")
        .with_remedy("Is this an Induct server, or a proxy in front of one?")
}
