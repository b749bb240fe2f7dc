//! Where the partitions of the hubs' event logs begin and end, kept in mind by the writer.
//!
//! A transaction may append hundreds of events to a partition; its row is written once, before the
//! commit. Until then what one change set changed here can be taken back on its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{Event, HubName, Timestamp};
use rusqlite::{Connection, Result};

use crate::{codec::Db, rows::event};

const LOAD: &str = "SELECT hub, number, id, first_offset, next_offset, last_enqueued, size_bytes \
     FROM event_partitions";

const PUT: &str = "INSERT INTO event_partitions \
     (id, hub, number, first_offset, next_offset, last_enqueued, size_bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET \
     (first_offset, next_offset, last_enqueued, size_bytes) = (?4, ?5, ?6, ?7)";

/// A partition that ever had an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its row's, part of its events' keys.
    pub(crate) id: i64,
    /// The oldest event's offset.
    pub(crate) first: u64,
    /// The next event's offset.
    pub(crate) next: u64,
    /// When the last event was taken.
    pub(crate) last_enqueued: Timestamp,
    /// The sum over its events.
    pub(crate) size_bytes: u64,
}

/// All partitions, as they are after the change sets applied so far.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    hubs: HashMap<HubName, BTreeMap<u16, Head>>,
    n_partitions: i64,
    /// What the transaction changed.
    changed: BTreeSet<(HubName, u16)>,
    /// What was before each step of the change set that is being applied.
    before: Vec<(HubName, u16, Option<Head>)>,
}

impl Heads {
    /// As the disk has them.
    pub(crate) fn load(connection: &Connection) -> Result<Self> {
        let mut heads = Self::default();
        let mut statement = connection.prepare_cached(LOAD)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let hub = row.get_ref(0)?.as_str()?;
            let hub = HubName::parse(hub).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    0,
                    rusqlite::types::Type::Text,
                    Box::new(error),
                )
            })?;
            let head = Head {
                id: row.get(2)?,
                first: row.get::<_, i64>(3)?.cast_unsigned(),
                next: row.get::<_, i64>(4)?.cast_unsigned(),
                last_enqueued: Timestamp::from_ticks(row.get(5)?),
                size_bytes: row.get::<_, i64>(6)?.cast_unsigned(),
            };
            heads.hubs.entry(hub).or_default().insert(row.get(1)?, head);
            heads.n_partitions += 1;
        }
        Ok(heads)
    }

    /// Appends an event to a partition, at its end and not before the event before it.
    pub(crate) fn append(
        &mut self,
        db: Db<'_>,
        hub: &HubName,
        partition: u16,
        new: &Event,
    ) -> Result<()> {
        let found = self.hubs.get(hub).and_then(|partitions| partitions.get(&partition));
        let mut head = found.copied().unwrap_or(Head {
            // No partition ever goes, so that the next id is free.
            id: self.n_partitions + 1,
            first: 0,
            next: 0,
            last_enqueued: new.enqueued,
            size_bytes: 0,
        });
        head.last_enqueued = head.last_enqueued.max(new.enqueued);
        let size_bytes = new.size_bytes();
        event::append(db, event::key(head.id, head.next)?, head.last_enqueued, size_bytes, new)?;
        head.next += 1;
        head.size_bytes = head.size_bytes.saturating_add(size_bytes);
        self.put(hub, partition, head);
        Ok(())
    }

    /// Deletes the oldest events of each partition of a hub that are too old or too much.
    pub(crate) fn trim(
        &mut self,
        db: Db<'_>,
        hub: &HubName,
        before: Timestamp,
        max_partition_bytes: u64,
        at_most: u64,
    ) -> Result<()> {
        let Some(partitions) = self.hubs.get(hub) else { return Ok(()) };
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        for (partition, head) in partitions.clone() {
            let (first, next) = (event::key(head.id, head.first)?, event::key(head.id, head.next)?);
            let mut kept = head;
            {
                let mut statement = db.prepare_cached(event::READ_AGES)?;
                let mut rows = statement.query((first, next, limit))?;
                while let Some(row) = rows.next()? {
                    let too_old = Timestamp::from_ticks(row.get(0)?) < before;
                    if !too_old && kept.size_bytes <= max_partition_bytes {
                        break;
                    }
                    let size_bytes = row.get::<_, i64>(1)?.cast_unsigned();
                    kept.size_bytes = kept.size_bytes.saturating_sub(size_bytes);
                    kept.first += 1;
                }
            }
            if kept.first > head.first {
                let until = event::key(kept.id, kept.first)?;
                db.prepare_cached(event::DELETE)?.execute((first, until))?;
                self.put(hub, partition, kept);
            }
        }
        Ok(())
    }

    fn put(&mut self, hub: &HubName, partition: u16, head: Head) {
        // Most hubs are there, and a name is copied only for those that are not.
        if !self.hubs.contains_key(hub) {
            self.hubs.insert(hub.clone(), BTreeMap::new());
        }
        let Some(partitions) = self.hubs.get_mut(hub) else { return };
        let before = partitions.insert(partition, head);
        if before.is_none() {
            self.n_partitions += 1;
        }
        self.before.push((hub.clone(), partition, before));
    }

    /// The change set that was applied stays in the transaction.
    pub(crate) fn keep(&mut self) {
        self.changed.extend(self.before.drain(..).map(|(hub, partition, _)| (hub, partition)));
    }

    /// The change set that was applied was taken back.
    pub(crate) fn take_back(&mut self) {
        while let Some((hub, partition, before)) = self.before.pop() {
            let partitions = self.hubs.entry(hub).or_default();
            match before {
                Some(head) => {
                    partitions.insert(partition, head);
                }
                None => {
                    partitions.remove(&partition);
                    self.n_partitions -= 1;
                }
            }
        }
    }

    /// Writes what the transaction changed; the caller commits it, or loads everything anew.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<()> {
        let mut statement = connection.prepare_cached(PUT)?;
        for (hub, partition) in std::mem::take(&mut self.changed) {
            let head = self.hubs.get(&hub).and_then(|partitions| partitions.get(&partition));
            if let Some(head) = head {
                statement.execute((
                    head.id,
                    hub.as_str(),
                    partition,
                    head.first.cast_signed(),
                    head.next.cast_signed(),
                    head.last_enqueued.ticks(),
                    head.size_bytes.cast_signed(),
                ))?;
            }
        }
        Ok(())
    }
}
