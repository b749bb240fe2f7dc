//! Plans, receipts and their items.

use model::{
    BanKind, BanSubject, Closed, DeprovisionItem, DeprovisionState, Deprovisioning, DeviceSubject,
    EndedSessions, EnrollmentRef, Etag, Intent, ItemState, Part, PlanTotals, PlannedDevice,
    PlannedIdentity, ReceiptId, RecordCondition, RegistrationStatus, RemoteStep, RemoteStepState,
    RemoteStepTask, ReplacedBan, SelectedBy, SharedAct, SharedOutcome, SharedPart, StillAdmitted,
    Trouble,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
};

use super::{
    bans, callers, device_ids, group_ids, hubs, parsed, registration_ids, texts, timestamps,
};

/// The names of plans and receipts.
pub fn receipt_ids() -> impl Strategy<Value = ReceiptId> {
    any::<[u8; 16]>().prop_map(ReceiptId::from_random)
}

/// Plans and receipts without their items.
pub fn deprovisionings() -> impl Strategy<Value = Deprovisioning> {
    let intent = select(vec![Intent::Suspend, Intent::Retire, Intent::Revoke, Intent::Reinstate]);
    let state = select(vec![
        DeprovisionState::Planning,
        DeprovisionState::Planned,
        DeprovisionState::Applying,
        DeprovisionState::Done,
    ]);
    let times = (timestamps(), timestamps(), option::of(timestamps()));
    let head = (receipt_ids(), intent, state, option::of(texts()), times);
    let applied = option::of((callers(), timestamps()));
    let shared = vec(shared_parts(), 0..3);
    (head, callers(), applied, selected_by(), shared, sessions(), totals()).prop_map(
        |(head, by, applied, selected_by, shared, sessions, totals)| {
            let (id, intent, state, reason, (created, expires, finished)) = head;
            Deprovisioning {
                id,
                intent,
                selected_by,
                reason,
                by,
                created,
                expires,
                state,
                shared,
                sessions,
                totals,
                applied,
                finished,
                version: 0,
            }
        },
    )
}

/// Items of the plan of this name.
pub fn deprovision_items(receipt: ReceiptId) -> impl Strategy<Value = DeprovisionItem> {
    let subject = prop_oneof![
        registration_ids().prop_map(DeviceSubject::Registration),
        device_ids().prop_map(DeviceSubject::Identity),
    ];
    let state =
        select(vec![ItemState::Pending, ItemState::Unchanged, ItemState::Done, ItemState::Failed]);
    let head = (any::<u32>(), subject, any::<bool>(), state, option::of(timestamps()));
    let done = (vec(parts(), 0..4), sessions(), vec(steps(), 0..4), option::of(troubles()));
    (head, planned(), done).prop_map(move |(head, plan, (parts, sessions, remote, trouble))| {
        let (number, subject, is_late, state, at) = head;
        DeprovisionItem {
            receipt: receipt.clone(),
            number: u64::from(number) + 1,
            subject,
            is_late,
            plan,
            state,
            at,
            parts,
            sessions,
            remote,
            trouble,
            version: 0,
        }
    })
}

fn etags() -> impl Strategy<Value = Etag> {
    any::<[u8; 16]>().prop_map(Etag::from_random)
}

fn enrollments() -> impl Strategy<Value = EnrollmentRef> {
    prop_oneof![
        registration_ids().prop_map(EnrollmentRef::Individual),
        group_ids().prop_map(EnrollmentRef::Group),
    ]
}

fn statuses() -> impl Strategy<Value = RegistrationStatus> {
    select(vec![
        RegistrationStatus::Assigning,
        RegistrationStatus::Assigned,
        RegistrationStatus::Failed,
        RegistrationStatus::Disabled,
    ])
}

fn selected_by() -> impl Strategy<Value = SelectedBy> {
    let moments = (option::of(timestamps()), option::of(timestamps()));
    let enrollment = option::of(enrollments());
    let records = (option::of(statuses()), option::of(hubs()), enrollment, moments, any::<bool>())
        .prop_map(|(status, hub, enrollment, (updated_since, updated_before), orphaned)| {
            RecordCondition { status, hub, enrollment, updated_since, updated_before, orphaned }
        });
    let names = (option::of(group_ids()), option::of(hubs()), option::of(receipt_ids()));
    let words = (option::of(any::<u64>()), option::of(texts()), option::of(texts()));
    (names, words, option::of(records)).prop_map(|(names, words, records)| {
        let ((group, hub, receipt), (n_registration_ids, certificate, twins)) = (names, words);
        SelectedBy { n_registration_ids, group, hub, certificate, records, twins, receipt }
    })
}

fn subjects() -> impl Strategy<Value = BanSubject> {
    bans().prop_map(|ban| ban.subject)
}

fn shared_parts() -> impl Strategy<Value = SharedPart> {
    let act = prop_oneof![
        (group_ids(), etags()).prop_map(|(id, etag)| SharedAct::DisableGroup(id, etag)),
        (group_ids(), etags()).prop_map(|(id, etag)| SharedAct::DeleteGroup(id, etag)),
        (group_ids(), etags()).prop_map(|(id, etag)| SharedAct::EnableGroup(id, etag)),
        subjects().prop_map(SharedAct::SetBan),
    ];
    let outcome = prop_oneof![
        Just(SharedOutcome::Planned),
        Just(SharedOutcome::Unchanged),
        option::of(etags()).prop_map(SharedOutcome::Done),
        texts().prop_map(SharedOutcome::LeftAlone),
    ];
    (act, outcome).prop_map(|(act, outcome)| SharedPart { act, outcome })
}

fn totals() -> impl Strategy<Value = PlanTotals> {
    let by_group = || vec((group_ids(), any::<u64>()), 0..3);
    (any::<[u64; 12]>(), vec((hubs(), any::<u64>()), 0..3), by_group(), by_group()).prop_map(
        |(n, identities, held_off, others)| PlanTotals {
            n_devices: n[0],
            n_unchanged: n[1],
            n_enrollments: n[2],
            n_records: n[3],
            n_sessions: n[4],
            n_bans: n[5],
            identities,
            n_still_admitted: n[6],
            held_off,
            n_unknown: n[7],
            n_known_nowhere: n[8],
            n_by_key: n[9],
            n_others: n[10],
            n_other_sessions: n[11],
            others,
        },
    )
}

fn sessions() -> impl Strategy<Value = EndedSessions> {
    let closed = prop_oneof![
        Just(Closed::None),
        Just(Closed::Waiting),
        (any::<u64>(), timestamps()).prop_map(|(micros, at)| Closed::After { micros, at }),
        Just(Closed::NotYet),
        Just(Closed::Unmeasured),
    ];
    (any::<u32>(), closed).prop_map(|(n, closed)| EndedSessions { n, closed })
}

fn planned() -> impl Strategy<Value = PlannedDevice> {
    let identity = (hubs(), device_ids(), any::<bool>())
        .prop_map(|(hub, device_id, is_remote)| PlannedIdentity { hub, device_id, is_remote });
    let admitted = || {
        prop_oneof![
            Just(StillAdmitted::No),
            enrollments().prop_map(StillAdmitted::By),
            Just(StillAdmitted::Unknown),
        ]
    };
    let flags = (any::<bool>(), any::<bool>(), any::<u32>());
    let of_record = (option::of(enrollments()), option::of(statuses()));
    let bans = vec(texts(), 0..3);
    (flags, of_record, vec(identity, 0..3), bans, admitted(), admitted()).prop_map(
        |(flags, (enrollment, record), identities, bans, admitted, admitted_without_bans)| {
            let (is_unchanged, has_individual, n_sessions) = flags;
            PlannedDevice {
                is_unchanged,
                enrollment,
                has_individual,
                record,
                identities,
                n_sessions,
                bans,
                admitted,
                admitted_without_bans,
            }
        },
    )
}

fn parts() -> impl Strategy<Value = Part> {
    let kind = select(vec![BanKind::Suspended, BanKind::Retired, BanKind::Revoked]);
    let replaced = (
        (kind, option::of(texts()), callers()),
        (timestamps(), option::of(timestamps()), option::of(receipt_ids())),
    )
        .prop_map(|((kind, reason, by), (created, expires, receipt))| {
            Box::new(ReplacedBan { kind, reason, by, created, expires, receipt })
        });
    prop_oneof![
        etags().prop_map(|etag| Part::EnrollmentDisabled { etag }),
        Just(Part::EnrollmentEnabled),
        Just(Part::EnrollmentDeleted),
        Just(Part::RecordDeleted),
        (hubs(), device_ids(), option::of(texts())).prop_map(|(hub, device_id, reason_before)| {
            Part::IdentityDisabled { hub, device_id, reason_before }
        }),
        (hubs(), device_ids())
            .prop_map(|(hub, device_id)| Part::IdentityEnabled { hub, device_id }),
        (hubs(), device_ids())
            .prop_map(|(hub, device_id)| Part::IdentityDeleted { hub, device_id }),
        (texts(), option::of(replaced)).prop_map(|(key, replaced)| Part::BanSet { key, replaced }),
        texts().prop_map(|key| Part::BanLifted { key }),
        (texts(), texts()).prop_map(|(what, why)| Part::LeftAlone { what, why }),
    ]
}

fn steps() -> impl Strategy<Value = RemoteStep> {
    let task =
        select(vec![RemoteStepTask::Delete, RemoteStepTask::Disable, RemoteStepTask::Enable]);
    let state = prop_oneof![
        (any::<u32>(), option::of(texts())).prop_map(|(n_failures, last_error)| {
            RemoteStepState::Pending { n_failures, last_error }
        }),
        any::<bool>().prop_map(|changed| RemoteStepState::Done { changed }),
        Just(RemoteStepState::Superseded),
        troubles().prop_map(RemoteStepState::Failed),
    ];
    (hubs(), device_ids(), task, state, timestamps()).prop_map(
        |(hub, device_id, task, state, at)| RemoteStep { hub, device_id, task, state, at },
    )
}

fn troubles() -> impl Strategy<Value = Trouble> {
    (texts(), texts()).prop_map(|(error, remedy)| Trouble { error, remedy })
}

/// A name that is the same on every run.
#[must_use]
pub fn receipt_id(seed: u8) -> ReceiptId {
    let name = ReceiptId::from_random([seed; 16]);
    parsed(ReceiptId::parse(name.as_str()))
}
