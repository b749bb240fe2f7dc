//! Plans: which devices are meant, and what would be done to each of them now.

use std::collections::{BTreeMap, HashSet};

use decide::{
    deprovision::{self, Act, DeviceFacts, PlannedActs},
    manage::bans,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use model::{
    Assignment, AttestationMechanism, Caller, Change, ChangeSet, DeprovisionItem, DeprovisionState,
    Deprovisioning, DeviceSubject, EndedSessions, EnrolledCertificate, EnrollmentGroup,
    EnrollmentGroupId, EnrollmentRef, Expect, HubName, Intent, ItemState, OperatorRefusal,
    PlanTotals, Receipt, ReceiptId, RecordFilter, SelectedBy, SelectedCertificate, Selection,
    SharedAct, StillAdmitted, Whole,
    ban::Thumbprint,
    deprovision::{MAX_KEPT_ITEMS, MAX_PLAN_DEVICES, PLAN_LIFE_SECS},
};
use store::StoreFault;

use super::{collect::Candidates, facts::Read};
use crate::{App, Attempt, No, attempted, unless_conflict};

/// A plan that is begun: nobody can apply it before its devices are collected.
#[derive(Debug)]
pub struct Planning {
    head: Deprovisioning,
    selection: Selection,
}

impl Planning {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &ReceiptId {
        &self.head.id
    }
}

impl App {
    /// Plans a deprovisioning: [`Self::begin_plan`] and [`Self::make_plan`]. Nothing happens to any
    /// device.
    ///
    /// # Errors
    /// Theirs.
    pub async fn plan_deprovision(
        &self,
        selection: &Selection,
        intent: Intent,
        reason: Option<String>,
        by: &Caller,
    ) -> Result<Receipt, No<OperatorRefusal>> {
        let planning = self.begin_plan(selection, intent, reason, by).await?;
        self.make_plan(planning).await
    }

    /// Begins a plan: checks what is asked for and gives it a name.
    ///
    /// # Errors
    /// [`OperatorRefusal::BadRequest`], or that group, hub or receipt are not there; or a fault.
    pub async fn begin_plan(
        &self,
        selection: &Selection,
        intent: Intent,
        reason: Option<String>,
        by: &Caller,
    ) -> Result<Planning, No<OperatorRefusal>> {
        let reason = reason.filter(|reason| !reason.trim().is_empty());
        deprovision::check(selection, reason.as_deref()).map_err(No::Refused)?;
        let mut selection = selection.clone();
        selection.certificate = match selection.certificate {
            Some(certificate) => Some(self.resolved(certificate).await?),
            None => None,
        };
        self.check_hub(selection.hub.as_ref()).await?;
        let suspended = self.undone(&selection, intent).await?;
        let group = self.selected_group(selection.group.as_ref()).await?;
        let cas = match &group {
            Some(group) => self.cas_of(group).await?,
            None => Vec::new(),
        };
        let selected_by = deprovision::selected_by(&selection);
        let shared = deprovision::plan_shared(
            &selected_by,
            intent,
            group.as_ref(),
            &cas,
            selection.certificate.as_ref(),
            suspended.as_ref(),
        );
        let now = self.clock.now();
        let head = Deprovisioning {
            id: ReceiptId::from_random(self.fresh().operation),
            intent,
            selected_by,
            reason,
            by: by.clone(),
            created: now,
            expires: now.plus_secs(PLAN_LIFE_SECS),
            state: DeprovisionState::Planning,
            shared,
            sessions: EndedSessions::default(),
            totals: PlanTotals::default(),
            applied: None,
            finished: None,
            version: 0,
        };
        self.check_room().await?;
        let changes = ChangeSet::new()
            .expecting(Expect::Receipt(head.id.clone(), 0))
            .with(Change::PutReceipt(Box::new(head.clone())));
        // The name is random: nobody else has it.
        if let Attempt::Again = attempted(self.commit(changes).await)? {
            return Err(No::Refused(OperatorRefusal::Conflict));
        }
        let head = self.deprovisioning(&head.id).await?.head;
        // This one is counted by now: too many others give way to it.
        self.trim_receipts().await?;
        Ok(Planning { head, selection })
    }

    /// Refuses a plan while more is being worked off than receipts may have.
    async fn check_room(&self) -> Result<(), No<OperatorRefusal>> {
        let mut n_items: u64 = 0;
        for id in self.store.applying_receipts(MAX_APPLYING_COUNTED).await? {
            let found = self.store.find_receipt(&id).await?;
            n_items = n_items.saturating_add(found.map_or(0, |found| found.counts.items));
        }
        if n_items < MAX_KEPT_ITEMS {
            return Ok(());
        }
        let what = "devices that are being deprovisioned; wait until some are done";
        Err(No::Refused(OperatorRefusal::QuotaExceeded { what, limit: MAX_KEPT_ITEMS }))
    }

    /// Collects the devices of a plan. Takes a while for many: a minute or so for a hundred
    /// thousand.
    ///
    /// # Errors
    /// [`OperatorRefusal::QuotaExceeded`] beyond [`MAX_PLAN_DEVICES`]; or a fault. The plan cannot
    /// be applied then.
    pub async fn make_plan(&self, planning: Planning) -> Result<Receipt, No<OperatorRefusal>> {
        let Planning { head, selection } = planning;
        let hubs = self.store.service_facts().await?.hubs;
        let mut candidates = Candidates::of(&selection, &hubs);
        let mut totals = Totals::default();
        let mut number = 0;
        let mut n_untrimmed = 0;
        let looking = self.deprovisionings.looking(&head.id);
        loop {
            let may_repeat = candidates.may_repeat();
            let Some(batch) = self.next_candidates(&mut candidates).await? else { break };
            looking.at(candidates.n_looked_at());
            let (head, selection) = (&head, &selection);
            let planned: Vec<Option<PlannedItem>> = stream::iter(batch)
                .map(|subject| self.plan_device(head, selection, subject, may_repeat))
                .buffered(self.deprovisionings.settings.max_at_once.max(1))
                .try_collect()
                .await?;
            let mut changes =
                ChangeSet::new().expecting(Expect::Receipt(head.id.clone(), head.version));
            for planned in planned.into_iter().flatten() {
                number += 1;
                if number > MAX_PLAN_DEVICES {
                    self.drop_plan(head).await?;
                    let (what, limit) = ("devices in one plan", MAX_PLAN_DEVICES);
                    return Err(No::Refused(OperatorRefusal::QuotaExceeded { what, limit }));
                }
                totals.count(&planned);
                let item = DeprovisionItem { number, ..planned.item };
                changes.changes.push(Change::PutReceiptItem(Box::new(item)));
            }
            if !changes.changes.is_empty() {
                n_untrimmed += changes.changes.len() as u64;
                self.write_plan(&head.id, changes).await?;
            }
            // Other plans give way as soon as this one needs their room, and not after it.
            if n_untrimmed >= TRIM_AT_ONCE {
                n_untrimmed = 0;
                self.trim_receipts().await?;
            }
        }
        self.count_others(&head, &mut totals).await?;
        drop(looking);
        let state = DeprovisionState::Planned;
        let planned = Deprovisioning { state, totals: totals.done(), ..head.clone() };
        let changes = ChangeSet::new()
            .expecting(Expect::Receipt(head.id.clone(), head.version))
            .with(Change::PutReceipt(Box::new(planned)));
        self.write_plan(&head.id, changes).await?;
        self.deprovisioning(&head.id).await
    }

    /// Counts those outside the selection that the CAs banned as a whole keep out as well.
    async fn count_others(
        &self,
        head: &Deprovisioning,
        totals: &mut Totals,
    ) -> Result<(), StoreFault> {
        let Some(Whole::Group(selected)) = head.selected_by.whole() else { return Ok(()) };
        let mut seen = HashSet::new();
        for part in &head.shared {
            let SharedAct::SetBan(subject) = &part.act else { continue };
            let (key, mut after) = (subject.key(), None::<String>);
            loop {
                let page = self.store.records_resting_on(&key, after.as_deref(), 512).await?;
                let mut ended = ChangeSet::new();
                for record in page.items {
                    let group = match record.enrollment {
                        EnrollmentRef::Group(group) if group == *selected => continue,
                        EnrollmentRef::Group(group) => Some(group),
                        EnrollmentRef::Individual(_) => None,
                    };
                    if !seen.insert(record.registration_id.key().to_owned()) {
                        continue;
                    }
                    totals.sum.n_others += 1;
                    if let Some(group) = group {
                        *totals.others.entry(group).or_default() += 1;
                    }
                    let device = |one: Assignment| Change::DeleteDevice(one.hub, one.device_id);
                    ended.changes.extend(record.assignment.map(device));
                }
                totals.sum.n_other_sessions += self.live.concerned(&ended).len() as u64;
                match page.next {
                    Some(next) if seen.len() < MAX_PLAN_DEVICES as usize => after = Some(next),
                    Some(_) | None => break,
                }
            }
        }
        Ok(())
    }

    /// A conflict means that the plan is no longer kept: it took too long, or too many others were
    /// made.
    async fn write_plan(
        &self,
        id: &ReceiptId,
        changes: ChangeSet,
    ) -> Result<(), No<OperatorRefusal>> {
        match attempted(self.commit(changes).await)? {
            Attempt::Done => Ok(()),
            Attempt::Again => {
                let text = format!(
                    "the plan {id} gave way while it was made: newer plans need its room, or it \
                     took longer than a day; make a new one"
                );
                Err(No::Refused(OperatorRefusal::BadRequest(text)))
            }
        }
    }

    /// Lets a plan that is too large be forgotten.
    async fn drop_plan(&self, head: &Deprovisioning) -> Result<(), No<OperatorRefusal>> {
        let over = Deprovisioning { expires: head.created, ..head.clone() };
        let changes = ChangeSet::new()
            .expecting(Expect::Receipt(head.id.clone(), head.version))
            .with(Change::PutReceipt(Box::new(over)));
        self.write_plan(&head.id, changes).await?;
        Ok(self.trim_receipts().await?)
    }

    /// What is planned for a device, unless it is not meant or is there already.
    async fn plan_device(
        &self,
        head: &Deprovisioning,
        selection: &Selection,
        subject: DeviceSubject,
        may_be_there: bool,
    ) -> Result<Option<PlannedItem>, StoreFault> {
        if may_be_there {
            let there = self.store.find_receipt_item_of(&head.id, &subject.key()).await?;
            if there.is_some() {
                return Ok(None);
            }
        }
        let read = self.read_device(&subject, head.intent, selection.receipt.as_ref()).await?;
        if !self.is_meant(selection, &read).await? {
            return Ok(None);
        }
        let facts = read.facts();
        let (now, fresh) = (self.clock.now(), self.fresh());
        let act = Act {
            intent: head.intent,
            reason: head.reason.as_deref(),
            by: &head.by,
            receipt: &head.id,
        };
        let deed = deprovision::device(&facts, &act, 0, now, &fresh);
        let n_sessions =
            u32::try_from(self.live.concerned(&deed.changes).len()).unwrap_or(u32::MAX);
        let prospects = match (&read.register, &subject) {
            (Some(facts), DeviceSubject::Registration(id)) => {
                let acts = PlannedActs { id, deed: &deed, shared: &head.shared };
                let settings = &self.settings.register.attest;
                deprovision::prospects(facts, acts, settings, now)
            }
            (_, DeviceSubject::Identity(_)) | (None, _) => deprovision::without_prospects(),
        };
        let plan = deprovision::planned(&facts, &deed, n_sessions, prospects);
        let is_known_nowhere = facts.is_known_nowhere();
        let is_by_key = head.intent == Intent::Revoke && facts.is_by_key();
        let item = DeprovisionItem::planned(head.id.clone(), 0, subject, plan);
        Ok(Some(PlannedItem { item, is_known_nowhere, is_by_key }))
    }

    /// Whether a device meets the whole selection, listed IDs apart: they were looked up.
    async fn is_meant(&self, selection: &Selection, read: &Read) -> Result<bool, StoreFault> {
        let facts = read.facts();
        let DeviceFacts { record, grounds, devices, formers, .. } = facts;
        if !deprovision::is_selected(selection, record, grounds, devices, formers) {
            return Ok(false);
        }
        if let Some(receipt) = &selection.receipt
            && selection.registration_ids.is_some()
        {
            let item = self.store.find_receipt_item_of(receipt, &facts.subject.key()).await?;
            if item.is_none_or(|item| item.state != ItemState::Done) {
                return Ok(false);
            }
        }
        if !selection.records.as_ref().is_some_and(|records| records.orphaned) {
            return Ok(true);
        }
        Ok(match facts.record.map(|record| &record.enrollment) {
            None => false,
            Some(EnrollmentRef::Individual(_)) => facts.individual.is_none(),
            Some(EnrollmentRef::Group(group)) => self.store.find_group(group).await?.is_none(),
        })
    }

    /// A thumbprint of a CA that is known means the CA, and that of another certificate that is
    /// known means it however its signature is written.
    async fn resolved(
        &self,
        certificate: SelectedCertificate,
    ) -> Result<SelectedCertificate, StoreFault> {
        let thumbprint = match &certificate {
            SelectedCertificate::Sha256 { sha256, tbs: None } => Thumbprint::Sha256(*sha256),
            SelectedCertificate::Sha1 { sha1, tbs: None } => Thumbprint::Sha1(*sha1),
            SelectedCertificate::Sha256 { .. }
            | SelectedCertificate::Sha1 { .. }
            | SelectedCertificate::Ca(_) => return Ok(certificate),
        };
        let known = self.certificate_of(thumbprint).await?;
        Ok(bans::by_thumbprint(thumbprint, known.as_ref()))
    }

    async fn check_hub(&self, hub: Option<&HubName>) -> Result<(), No<OperatorRefusal>> {
        let Some(hub) = hub else { return Ok(()) };
        let hubs = self.store.service_facts().await?.hubs;
        match hubs.iter().any(|linked| linked.name == *hub) {
            true => Ok(()),
            false => Err(No::Refused(OperatorRefusal::HubNotLinked(hub.to_string()))),
        }
    }

    /// The suspension that is to be undone, when the operator names its receipt.
    async fn undone(
        &self,
        selection: &Selection,
        intent: Intent,
    ) -> Result<Option<Deprovisioning>, No<OperatorRefusal>> {
        let Some(id) = &selection.receipt else { return Ok(None) };
        let head = self.deprovisioning(id).await?.head;
        let bad = |text: String| Err(No::Refused(OperatorRefusal::BadRequest(text)));
        if intent == Intent::Reinstate && head.intent != Intent::Suspend {
            return bad(format!("the receipt {id} is no suspension; only these can be undone"));
        }
        if intent == Intent::Reinstate && head.state != DeprovisionState::Done {
            return bad(format!(
                "the suspension {id} is not done yet; what it is still to suspend could not be \
                 undone; wait until it is done"
            ));
        }
        Ok(Some(head))
    }

    /// The group selected. One that is gone can be meant as long as there are records of it, or
    /// identities that came from it.
    async fn selected_group(
        &self,
        id: Option<&EnrollmentGroupId>,
    ) -> Result<Option<EnrollmentGroup>, No<OperatorRefusal>> {
        let Some(id) = id else { return Ok(None) };
        let found = self.store.find_group(id).await?;
        if found.is_none() {
            let filter = RecordFilter::Group(id.clone());
            if self.store.list_records(&filter, None, 1).await?.items.is_empty()
                && self.store.former_of_group(id, None, 1).await?.items.is_empty()
            {
                return Err(No::Refused(OperatorRefusal::GroupNotFound));
            }
        }
        Ok(found)
    }

    /// The CA certificates of a group, references resolved.
    pub(super) async fn cas_of(
        &self,
        group: &EnrollmentGroup,
    ) -> Result<Vec<EnrolledCertificate>, StoreFault> {
        let mechanism = &group.terms.attestation;
        let mut found: Vec<_> = mechanism.own_certificates().cloned().collect();
        if let AttestationMechanism::X509CaReferences(names) = mechanism {
            for name in names.iter() {
                let ca = self.store.find_ca_certificate(name).await?;
                found.extend(ca.map(|ca| ca.certificate));
            }
        }
        Ok(found)
    }

    /// Forgets plans and receipts that are no longer kept, a few thousand devices at a time.
    pub(super) async fn trim_receipts(&self) -> Result<(), StoreFault> {
        let now = self.clock.now();
        let changes = ChangeSet::new().with(Change::TrimReceipts { now, at_most: TRIM_AT_ONCE });
        // It expects nothing, so no store says that something has changed.
        unless_conflict(self.commit(changes).await).map(drop)
    }
}

/// How many devices of old receipts are forgotten at a time.
const TRIM_AT_ONCE: u64 = 5_000;

/// How many deprovisionings that are being worked off are counted before a plan is made.
const MAX_APPLYING_COUNTED: usize = 1_000;

/// How many groups the totals name.
const MAX_NAMED_GROUPS: usize = 100;

/// A device of a plan, and what is told of it in sum only.
struct PlannedItem {
    item: DeprovisionItem,
    is_known_nowhere: bool,
    is_by_key: bool,
}

/// What a plan comes to, while it is made.
#[derive(Debug, Default)]
struct Totals {
    sum: PlanTotals,
    identities: BTreeMap<HubName, u64>,
    held_off: BTreeMap<EnrollmentGroupId, u64>,
    others: BTreeMap<EnrollmentGroupId, u64>,
}

impl Totals {
    fn count(&mut self, planned: &PlannedItem) {
        let plan = &planned.item.plan;
        if plan.is_unchanged {
            self.sum.n_unchanged += 1;
            return;
        }
        self.sum.n_devices += 1;
        self.sum.n_enrollments += u64::from(plan.has_individual);
        self.sum.n_records += u64::from(plan.record.is_some());
        self.sum.n_sessions += u64::from(plan.n_sessions);
        self.sum.n_bans += plan.bans.len() as u64;
        self.sum.n_by_key += u64::from(planned.is_by_key);
        for identity in &plan.identities {
            *self.identities.entry(identity.hub.clone()).or_default() += 1;
        }
        if let StillAdmitted::By(_) = &plan.admitted {
            self.sum.n_still_admitted += 1;
        }
        match &plan.admitted_without_bans {
            StillAdmitted::By(EnrollmentRef::Group(group)) => {
                *self.held_off.entry(group.clone()).or_default() += 1;
            }
            StillAdmitted::Unknown => {
                self.sum.n_unknown += 1;
                self.sum.n_known_nowhere += u64::from(planned.is_known_nowhere);
            }
            StillAdmitted::By(EnrollmentRef::Individual(_)) | StillAdmitted::No => {}
        }
    }

    fn done(self) -> PlanTotals {
        let named = |counts: BTreeMap<EnrollmentGroupId, u64>| {
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_by(|(_, a), (_, b)| b.cmp(a));
            counts.truncate(MAX_NAMED_GROUPS);
            counts
        };
        let (held_off, others) = (named(self.held_off), named(self.others));
        let identities = self.identities.into_iter().collect();
        PlanTotals { identities, held_off, others, ..self.sum }
    }
}

/// Whether this closes a group or a CA that is selected as a whole: nobody joins it afterwards.
pub(super) fn is_closed(selected_by: &SelectedBy, intent: Intent) -> bool {
    match (selected_by.whole(), intent) {
        (Some(Whole::Group(_)), Intent::Suspend | Intent::Retire | Intent::Revoke)
        | (Some(Whole::Certificate(_)), Intent::Revoke) => true,
        (Some(Whole::Group(_)), Intent::Reinstate)
        | (Some(Whole::Certificate(_)), Intent::Suspend | Intent::Retire | Intent::Reinstate)
        | (Some(Whole::Receipt(_)) | None, _) => false,
    }
}
