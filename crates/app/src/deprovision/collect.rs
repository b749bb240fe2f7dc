//! Finds the devices of a selection, a batch at a time, by the narrowest way there is.

use std::collections::HashSet;

use decide::hub::query;
use model::{
    DeviceSubject, EnrollmentGroupId, EnrollmentRef, HubAccess, HubName, ItemState, LinkedHub,
    OrphanFilter, RecordFilter, RegistrationRecord, Selection, ban::tbs_key,
};
use store::StoreFault;

use crate::App;

/// How many are looked at for one batch.
const BATCH: usize = 200;

/// Where candidates come from. Whether they meet the whole selection is asked of each.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    selection: &'a Selection,
    /// The sources, the next one last.
    sources: Vec<Source>,
    may_repeat: bool,
    after: Option<String>,
    number: u64,
    n_looked_at: u64,
}

#[derive(Debug)]
enum Source {
    /// The IDs listed.
    Listed,
    /// This registration ID.
    One(DeviceSubject),
    /// The items of the receipt.
    Receipt,
    /// What rests on the certificate.
    Certificate,
    /// Records.
    Records(RecordFilter),
    /// Registrations without a record whose identities came from the group.
    Former(EnrollmentGroupId),
    /// The identities of a built-in hub.
    Devices(HubName),
}

impl<'a> Candidates<'a> {
    pub(super) fn of(selection: &'a Selection, hubs: &[LinkedHub]) -> Self {
        let sources = sources(selection, hubs);
        // A device may have an identity on two hubs, or two that differ in letter case; or lose its
        // record in between.
        let repeats = |source: &Source| {
            matches!(source, Source::Listed | Source::Devices(_) | Source::Former(_))
        };
        let may_repeat = sources.iter().any(repeats);
        Self { selection, sources, may_repeat, after: None, number: 0, n_looked_at: 0 }
    }

    /// Whether one device may come into question in two batches.
    pub(super) const fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// How many were looked at so far, those among them that did not come into question.
    pub(super) const fn n_looked_at(&self) -> u64 {
        self.n_looked_at
    }

    /// Goes on to the next source.
    fn advance(&mut self) {
        self.sources.pop();
        (self.after, self.number) = (None, 0);
    }

    /// A page was read, up to this key.
    fn turn(&mut self, next: Option<String>) {
        match next {
            Some(next) => self.after = Some(next),
            None => self.advance(),
        }
    }
}

fn sources(selection: &Selection, hubs: &[LinkedHub]) -> Vec<Source> {
    if selection.registration_ids.is_some() {
        return vec![Source::Listed];
    }
    if selection.receipt.is_some() {
        return vec![Source::Receipt];
    }
    if selection.certificate.is_some() {
        return vec![Source::Certificate];
    }
    if selection.records.as_ref().is_some_and(|records| records.orphaned) {
        let filter = OrphanFilter { group: selection.group.clone(), updated_before: None };
        return vec![Source::Records(RecordFilter::Orphaned(filter))];
    }
    if let Some(group) = &selection.group {
        // Those without a record come second: a record that is deleted meanwhile is still found.
        let records = Source::Records(RecordFilter::Group(group.clone()));
        return vec![Source::Former(group.clone()), records];
    }
    if let Some(records) = &selection.records {
        return vec![match &records.enrollment {
            Some(EnrollmentRef::Group(group)) => {
                Source::Records(RecordFilter::Group(group.clone()))
            }
            Some(EnrollmentRef::Individual(id)) => {
                Source::One(DeviceSubject::Registration(id.clone()))
            }
            None => Source::Records(RecordFilter::All),
        }];
    }
    let is_built_in = |hub: &&LinkedHub| hub.access == HubAccess::BuiltIn;
    let built_in = hubs.iter().filter(is_built_in);
    match &selection.hub {
        // Those with a record but without an identity come second.
        Some(hub) if selection.twins.is_none() => {
            let here = built_in.filter(|one| one.name == *hub).map(|one| one.name.clone());
            let records = Source::Records(RecordFilter::All);
            [records].into_iter().chain(here.map(Source::Devices)).collect()
        }
        hub => built_in
            .filter(|one| hub.as_ref().is_none_or(|hub| one.name == *hub))
            .map(|one| Source::Devices(one.name.clone()))
            .collect(),
    }
}

impl App {
    /// The next devices that come into question, each once within the batch; `None` when there are
    /// no more.
    pub(super) async fn next_candidates(
        &self,
        candidates: &mut Candidates<'_>,
    ) -> Result<Option<Vec<DeviceSubject>>, StoreFault> {
        let Some(source) = candidates.sources.last() else { return Ok(None) };
        let of_record =
            |record: RegistrationRecord| DeviceSubject::Registration(record.registration_id);
        // Of these, many are left out below.
        let counts_itself = matches!(source, Source::Records(_) | Source::Devices(_));
        let after = candidates.after.as_deref();
        let found: Vec<DeviceSubject> = match source {
            Source::One(subject) => {
                let subject = subject.clone();
                candidates.advance();
                vec![subject]
            }
            Source::Listed => {
                let ids = candidates.selection.registration_ids.as_deref().unwrap_or_default();
                let from = usize::try_from(candidates.number).unwrap_or(usize::MAX);
                let found: Vec<_> = ids.iter().skip(from).take(BATCH).collect();
                match found.len() {
                    0 => candidates.advance(),
                    n => candidates.number += n as u64,
                }
                found.into_iter().cloned().map(DeviceSubject::Registration).collect()
            }
            Source::Receipt => {
                let Some(receipt) = &candidates.selection.receipt else { return Ok(None) };
                let (state, after) = (Some(ItemState::Done), candidates.number);
                let items = self.store.list_receipt_items(receipt, state, after, BATCH).await?;
                match items.last() {
                    None => candidates.advance(),
                    Some(last) => candidates.number = last.number,
                }
                items.into_iter().map(|item| item.subject).collect()
            }
            Source::Certificate => {
                let Some(certificate) = &candidates.selection.certificate else { return Ok(None) };
                // What its issuer signed finds it however its signature is written.
                let subject = certificate.ban_subject();
                let key = subject.tbs().map_or_else(|| subject.key(), tbs_key);
                let page = self.store.records_resting_on(&key, after, BATCH).await?;
                candidates.turn(page.next);
                page.items.into_iter().map(of_record).collect()
            }
            Source::Records(filter) => {
                let page = self.store.list_records(filter, after, BATCH).await?;
                candidates.turn(page.next);
                candidates.n_looked_at += page.items.len() as u64;
                let selection = candidates.selection;
                let may_be = |record: &RegistrationRecord| may_be_meant(selection, record);
                page.items.into_iter().filter(may_be).map(of_record).collect()
            }
            Source::Former(group) => {
                let page = self.store.former_of_group(group, after, BATCH).await?;
                candidates.turn(page.next);
                page.items.into_iter().map(DeviceSubject::Registration).collect()
            }
            Source::Devices(hub) => {
                let page = self.store.list_devices(hub, after, BATCH).await?;
                candidates.n_looked_at += page.items.len() as u64;
                let filter = candidates.selection.twins.as_ref().and_then(|t| t.filter.as_ref());
                let mut found = Vec::new();
                for device in &page.items {
                    if filter.is_some_and(|filter| !query::matches(filter, device)) {
                        continue;
                    }
                    let id = &device.identity.device_id;
                    found.push(match self.store.origin(hub, id).await? {
                        Some(origin) => DeviceSubject::Registration(origin.registration_id),
                        None => DeviceSubject::of_device(id),
                    });
                }
                candidates.turn(page.next);
                found
            }
        };
        if !counts_itself {
            candidates.n_looked_at += found.len() as u64;
        }
        let mut seen = HashSet::new();
        Ok(Some(found.into_iter().filter(|subject| seen.insert(subject.key())).collect()))
    }
}

/// Whether a record lets its device come into question, by what the record says itself: reading
/// all that is known of a million devices takes a while.
fn may_be_meant(selection: &Selection, record: &RegistrationRecord) -> bool {
    selection.hub.as_ref().is_none_or(|hub| is_on(record, hub))
        && selection.records.as_ref().is_none_or(|condition| condition.holds(record))
        && selection.group.as_ref().is_none_or(|group| match &record.enrollment {
            EnrollmentRef::Group(id) => id == group,
            EnrollmentRef::Individual(_) => false,
        })
}

fn is_on(record: &RegistrationRecord, hub: &HubName) -> bool {
    let pending = record.pending.as_deref().map(|pending| &pending.assignment);
    record.assignment.iter().chain(pending).any(|assignment| assignment.hub == *hub)
}
