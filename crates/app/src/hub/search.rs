//! Queries over a hub's devices (H §7).

use decide::hub::query;
use model::{
    Device, HubName, HubRefusal, Json,
    query::{Query, Select, Source},
};

use crate::{App, No};

/// How many devices are read at a time.
const CHUNK: usize = 500;

/// How many times devices are read for one page. A query that matches few of many devices gets a
/// short page, or an empty one, and where to go on.
const MAX_CHUNKS: usize = 40;

/// Where a query goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryCursor {
    /// The device ID to continue after.
    pub after: String,
    /// How many rows `TOP` still allows.
    pub remaining: Option<u64>,
}

/// A page of a query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPage {
    /// The rows.
    pub rows: Rows,
    /// Where to go on, when there is more.
    pub next: Option<QueryCursor>,
}

/// Rows of an answer: whole twins, or what a projection or count made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Of `SELECT *`.
    Twins(Vec<Device>),
    /// Of anything else.
    Raw(Vec<Json>),
}

impl App {
    /// Answers a query, a page at a time, in the order of device IDs. What was committed before
    /// is seen.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn query_devices(
        &self,
        hub: &HubName,
        query: &Query,
        cursor: Option<&QueryCursor>,
        limit: usize,
    ) -> Result<QueryPage, No<HubRefusal>> {
        let allowed = cursor.map_or(query.top, |cursor| cursor.remaining);
        let after = cursor.map(|cursor| cursor.after.clone());
        if query.from == Source::Modules {
            return Err(No::Refused(HubRefusal::NotImplemented(
                "queries over devices.modules are not available in this version of Induct; list \
                 the modules of a device instead"
                    .to_owned(),
            )));
        }
        match &query.select {
            Select::Count { name } => {
                let count = self.count_matches(hub, query).await?;
                let row = Json::Object(vec![(name.clone(), Json::from(count))]);
                Ok(QueryPage { rows: Rows::Raw(vec![row]), next: None })
            }
            Select::All => {
                let (devices, next) = self.matches(hub, query, after, allowed, limit).await?;
                Ok(QueryPage { rows: Rows::Twins(devices), next })
            }
            Select::Columns(columns) => {
                let (devices, next) = self.matches(hub, query, after, allowed, limit).await?;
                let rows = devices.iter().map(|device| query::project(columns, device)).collect();
                Ok(QueryPage { rows: Rows::Raw(rows), next })
            }
        }
    }

    async fn matches(
        &self,
        hub: &HubName,
        query: &Query,
        mut after: Option<String>,
        allowed: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Device>, Option<QueryCursor>), No<HubRefusal>> {
        let mut found: Vec<Device> = Vec::new();
        let allowed_now = allowed.map_or(limit, |n| limit.min(usize::try_from(n).unwrap_or(limit)));
        let mut n_chunks = 0;
        while found.len() < allowed_now {
            if n_chunks == MAX_CHUNKS {
                let remaining = allowed.map(|n| n.saturating_sub(found.len() as u64));
                let next = after.map(|after| QueryCursor { after, remaining });
                return Ok((found, next));
            }
            n_chunks += 1;
            let page = self.store.list_devices(hub, after.as_deref(), CHUNK).await?;
            let more = page.next.is_some();
            for device in page.items {
                after = Some(device.identity.device_id.to_string());
                if is_match(query, &device) {
                    found.push(device);
                    if found.len() == allowed_now {
                        break;
                    }
                }
            }
            if !more && found.len() < allowed_now {
                return Ok((found, None));
            }
        }
        let remaining = allowed.map(|n| n.saturating_sub(found.len() as u64));
        if remaining == Some(0) {
            return Ok((found, None));
        }
        // Only say that there is more when there is: clients loop while they are told so.
        let next = match after {
            Some(after) if self.has_match_after(hub, query, &after).await? => {
                Some(QueryCursor { after, remaining })
            }
            _ => None,
        };
        Ok((found, next))
    }

    async fn has_match_after(
        &self,
        hub: &HubName,
        query: &Query,
        after: &str,
    ) -> Result<bool, No<HubRefusal>> {
        let mut after = Some(after.to_owned());
        for _ in 0..MAX_CHUNKS {
            let page = self.store.list_devices(hub, after.as_deref(), CHUNK).await?;
            if page.items.iter().any(|device| is_match(query, device)) {
                return Ok(true);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(false),
            }
        }
        // There may be; the next page will tell.
        Ok(true)
    }

    async fn count_matches(&self, hub: &HubName, query: &Query) -> Result<u64, No<HubRefusal>> {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = self.store.list_devices(hub, after.as_deref(), CHUNK).await?;
            count += page.items.iter().filter(|device| is_match(query, device)).count() as u64;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }
}

fn is_match(query: &Query, device: &Device) -> bool {
    query.filter.as_ref().is_none_or(|filter| query::matches(filter, device))
}
