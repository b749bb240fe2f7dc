//! Registration records: polling them, reading them, deleting them.

use model::{
    DeviceRefusal, OperationId, OperationRef, OperatorRefusal, Precondition, RegisterFacts,
    RegistrationRecord, RegistrationStatus, Timestamp, record::MAX_RECENT_OPERATIONS,
};

use crate::{
    attestation::{AttestSettings, Attested, authenticate, authenticate_since},
    register::Prepared,
};

/// How long a finished operation can be polled, in seconds (D appendix D16).
pub const OPERATION_LIFE_SECS: i64 = 3600;

/// A record's operations with one more: the oldest give way when there are too many, and those
/// whose time is over go.
#[must_use]
pub fn with_operation(
    record: Option<&RegistrationRecord>,
    id: OperationId,
    now: Timestamp,
) -> Vec<OperationRef> {
    let mut operations: Vec<OperationRef> = record
        .iter()
        .flat_map(|record| &record.operations)
        .filter(|operation| is_live(operation, now))
        .cloned()
        .collect();
    if operations.len() >= MAX_RECENT_OPERATIONS {
        operations.drain(..=operations.len() - MAX_RECENT_OPERATIONS);
    }
    operations.push(OperationRef { id, started: now });
    operations
}

fn is_live(operation: &OperationRef, now: Timestamp) -> bool {
    now <= operation.started.plus_secs(OPERATION_LIFE_SECS)
}

/// What a poll of an operation shows: the record as it stands.
///
/// The device proves itself again. A token that was valid when the operation began is valid for
/// its polls: one client signs for 30 seconds and polls for longer (D §0.5 step 7).
///
/// Once the enrollment that decides is disabled, the device hears so, whatever it was told when
/// the operation began.
///
/// # Errors
/// [`DeviceRefusal`]: not attested, or no such operation of this device.
pub fn poll(
    facts: &RegisterFacts,
    prepared: &Prepared,
    operation: &OperationId,
    settings: &AttestSettings,
    now: Timestamp,
) -> Result<RegistrationRecord, DeviceRefusal> {
    let id = &prepared.request().registration_id;
    let found = facts.record.as_ref().and_then(|record| {
        let found = record.operations.iter().find(|o| o.id == *operation && is_live(o, now))?;
        Some((record, found))
    });
    let proven_at = found.map_or(now, |(_, operation)| operation.started);
    let (steps, shown) = (&mut Vec::new(), prepared.shown());
    let proof = authenticate_since(facts, id, shown, settings, (proven_at, now), steps)?;
    let (record, _) = found.ok_or(DeviceRefusal::UnknownOperation)?;
    Ok(as_told(record, &proof))
}

/// The record as the device may see it now.
fn as_told(record: &RegistrationRecord, proof: &Attested<'_>) -> RegistrationRecord {
    let mut told = record.clone();
    if !proof.terms().is_enabled() {
        told.status = RegistrationStatus::Disabled;
        told.failure = None;
    }
    if told.status != RegistrationStatus::Assigned {
        told.wrapped_hub_key = None;
    }
    told
}

/// What a registration status look-up shows (D §7.2). It never triggers an assignment.
///
/// # Errors
/// [`DeviceRefusal`]: not attested, or never registered.
pub fn look_up(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &AttestSettings,
    now: Timestamp,
) -> Result<RegistrationRecord, DeviceRefusal> {
    let id = &prepared.request().registration_id;
    let proof = authenticate(facts, id, prepared.shown(), settings, now, &mut Vec::new())?;
    let record = facts.record.as_ref().ok_or(DeviceRefusal::NotRegistered)?;
    Ok(as_told(record, &proof))
}

/// Whether an operator may delete a record. Without a precondition, always (O §0.3).
///
/// # Errors
/// [`OperatorRefusal::RecordNotFound`], [`OperatorRefusal::StaleEtag`].
pub fn delete(
    existing: Option<&RegistrationRecord>,
    precondition: &Precondition,
) -> Result<(), OperatorRefusal> {
    let record = existing.ok_or(OperatorRefusal::RecordNotFound)?;
    match precondition {
        Precondition::Tag(tag) if tag != record.etag.as_str() => Err(OperatorRefusal::StaleEtag),
        Precondition::None | Precondition::Any | Precondition::Tag(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use model::IdScope;

    use super::*;

    #[test]
    fn operations_are_bounded_in_number_and_time() {
        let scope = IdScope::from_random([1; 4]);
        let id = |n: u8| OperationId::from_random(&scope, [n; 16]);
        let at = Timestamp::from_unix_secs;
        let mut record: Option<RegistrationRecord> = None;
        let mut operations = Vec::new();
        for n in 0..20 {
            operations = with_operation(record.as_ref(), id(n), at(i64::from(n)));
            record = Some(sample(operations.clone()));
        }
        assert_eq!(operations.len(), MAX_RECENT_OPERATIONS);
        assert_eq!(operations.last().map(|o| &o.id), Some(&id(19)));
        assert_eq!(operations.first().map(|o| &o.id), Some(&id(12)));
        let later = with_operation(record.as_ref(), id(99), at(19 + OPERATION_LIFE_SECS + 1));
        assert_eq!(later.len(), 1, "old operations go");
    }

    fn sample(operations: Vec<OperationRef>) -> RegistrationRecord {
        let registration_id = model::RegistrationId::parse("press-17").expect("legal");
        RegistrationRecord {
            enrollment: model::EnrollmentRef::Individual(registration_id.clone()),
            registration_id,
            created: Timestamp::from_unix_secs(0),
            last_updated: Timestamp::from_unix_secs(0),
            status: RegistrationStatus::Assigned,
            assignment: None,
            pending: None,
            failure: None,
            payload: None,
            wrapped_hub_key: None,
            etag: model::Etag::from_random([0; 16]),
            mechanism: model::AttestationKind::X509,
            operations,
            version: 0,
        }
    }
}
