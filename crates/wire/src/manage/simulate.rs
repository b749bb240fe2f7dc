//! Changes that are only thought of, and what they would mean for the devices that are known.

use model::{
    ChangeDraft, Json, OperatorRefusal, ProvisioningStatus, SimulatedEffect, SimulatedEntry,
    SimulatedUnknown, Simulation, SimulationLimits, SimulationStop,
};

use super::{members, parse_ban, parse_certificate, parse_tpm_group};
use crate::{
    operator::{group_id, parse_body, parse_group, parse_individual, registration_id},
    read::{Malformed, Members},
    write::Object,
};

/// What a change is about; a request has one of them.
const SUBJECTS: [&str; 5] =
    ["enrollment", "enrollmentGroup", "tpmEnrollmentGroup", "certificate", "ban"];

/// How far a simulation goes.
const LIMITS: [&str; 3] = ["maxDevices", "maxSecs", "maxNamed"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Delete,
    Disable,
    Enable,
    Lift,
}

const VERBS: &[(&str, Verb)] = &[
    ("put", Verb::Put),
    ("delete", Verb::Delete),
    ("disable", Verb::Disable),
    ("enable", Verb::Enable),
    ("lift", Verb::Lift),
];

/// A simulation as an operator asks for it.
#[derive(Debug, Clone)]
pub struct SimulationBody {
    /// The change.
    pub change: ChangeDraft,
    /// How far to go.
    pub limits: SimulationLimits,
}

/// Parses the body of a `POST`: one change. What is put is the document that a `PUT` has; what is
/// deleted, switched or lifted is named.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_simulation(body: &[u8]) -> Result<SimulationBody, OperatorRefusal> {
    let body = parse_body(body)?;
    let known: Vec<&str> = ["change"].into_iter().chain(SUBJECTS).chain(LIMITS).collect();
    let body = members(&body, "", &known)?;
    let verb = body.word("change", VERBS)?.ok_or_else(|| body.missing("change"))?;
    let given: Vec<&str> = SUBJECTS.into_iter().filter(|name| body.value(name).is_some()).collect();
    let [subject] = given.as_slice() else {
        let one_of = SUBJECTS.join(", ");
        return Err(Malformed::new("", format!("expected exactly one of {one_of}")).into());
    };
    Ok(SimulationBody { limits: limits(&body)?, change: change(&body, verb, subject)? })
}

fn change(body: &Members<'_>, verb: Verb, subject: &str) -> Result<ChangeDraft, OperatorRefusal> {
    let name = || body.required_string(subject);
    let switched = match verb {
        Verb::Disable => Some(ProvisioningStatus::Disabled),
        Verb::Enable => Some(ProvisioningStatus::Enabled),
        Verb::Put | Verb::Delete | Verb::Lift => None,
    };
    Ok(match (subject, verb, switched) {
        ("enrollment", Verb::Put, _) => {
            ChangeDraft::PutIndividual(Box::new(put(body, subject, parse_individual)?))
        }
        ("enrollment", Verb::Delete, _) => ChangeDraft::DeleteIndividual(registration_id(name()?)?),
        ("enrollment", _, Some(status)) => {
            ChangeDraft::SwitchIndividual(registration_id(name()?)?, status)
        }
        ("enrollmentGroup", Verb::Put, _) => {
            ChangeDraft::PutGroup(Box::new(put(body, subject, parse_group)?))
        }
        ("tpmEnrollmentGroup", Verb::Put, _) => {
            ChangeDraft::PutGroup(Box::new(put(body, subject, parse_tpm_group)?))
        }
        ("enrollmentGroup" | "tpmEnrollmentGroup", Verb::Delete, _) => {
            ChangeDraft::DeleteGroup(group_id(name()?)?)
        }
        ("enrollmentGroup" | "tpmEnrollmentGroup", _, Some(status)) => {
            ChangeDraft::SwitchGroup(group_id(name()?)?, status)
        }
        ("certificate", Verb::Put, _) => put_certificate(body, subject)?,
        ("certificate", Verb::Delete, _) => ChangeDraft::DeleteCertificate(name()?.to_owned()),
        ("ban", Verb::Put, _) => ChangeDraft::PutBan(Box::new(put(body, subject, parse_ban)?)),
        ("ban", Verb::Lift, _) => ChangeDraft::LiftBan(name()?.to_owned()),
        ("ban", ..) => return Err(body.wrong("change", "a ban is put or lifted").into()),
        ("certificate", ..) => {
            return Err(body.wrong("change", "a certificate is put or deleted").into());
        }
        _ => {
            let what = "an enrollment is put, deleted, disabled or enabled";
            return Err(body.wrong("change", what).into());
        }
    })
}

/// Reads what is put as the `PUT` of it does.
fn put<T>(
    body: &Members<'_>,
    subject: &str,
    parse: impl Fn(&[u8]) -> Result<T, OperatorRefusal>,
) -> Result<T, OperatorRefusal> {
    let Some(document @ Json::Object(_)) = body.value(subject) else {
        return Err(body.wrong(subject, "expected the document that is to be put").into());
    };
    within(subject, parse(document.to_string().as_bytes()))
}

/// A certificate's document has no name, which stands in the path of its `PUT`.
fn put_certificate(body: &Members<'_>, subject: &str) -> Result<ChangeDraft, OperatorRefusal> {
    let Some(document) = body.verbatim_object(subject)? else {
        return Err(body.missing(subject).into());
    };
    let name = Members::of(&document, subject)?.required_string("name")?.to_owned();
    let mut document = document;
    document.remove("name");
    let read = within(subject, parse_certificate(document.to_string().as_bytes()))?;
    Ok(ChangeDraft::PutCertificate { name, der: read.der, verified: read.verified })
}

/// Says in which member a document is wrong.
fn within<T>(subject: &str, read: Result<T, OperatorRefusal>) -> Result<T, OperatorRefusal> {
    read.map_err(|refusal| match refusal {
        OperatorRefusal::BadRequest(text) => {
            OperatorRefusal::BadRequest(format!("{subject}.{text}"))
        }
        other => other,
    })
}

fn limits(body: &Members<'_>) -> Result<SimulationLimits, Malformed> {
    let usual = SimulationLimits::default();
    let count = |name: &str, from: u64, most: u64| match body.value(name) {
        None => Ok(None),
        Some(Json::Number(digits)) => match digits.parse::<u64>() {
            Ok(n) if (from..=most).contains(&n) => Ok(Some(n)),
            _ => Err(body.wrong(name, format!("expected {from} to {most}"))),
        },
        Some(_) => Err(body.wrong(name, format!("expected a number, {from} to {most}"))),
    };
    let most_secs = SimulationLimits::MOST_SECS.unsigned_abs();
    let secs = count("maxSecs", 1, most_secs)?.and_then(|secs| i64::try_from(secs).ok());
    let named = count("maxNamed", 0, SimulationLimits::MOST_NAMED as u64)?;
    Ok(SimulationLimits {
        max_devices: count("maxDevices", 1, SimulationLimits::MOST_DEVICES)?
            .unwrap_or(usual.max_devices),
        max_secs: secs.unwrap_or(usual.max_secs),
        max_named: named.and_then(|n| usize::try_from(n).ok()).unwrap_or(usual.max_named),
    })
}

/// What a change would mean, counted.
#[must_use]
pub fn simulation(told: &Simulation) -> Json {
    let count = |is: fn(&SimulatedEffect) -> bool| told.count(is);
    let effects = told.effects.iter();
    let effects = effects.map(|(effect, n)| with_effect(Object::new(), effect).with("devices", *n));
    let named = told
        .named
        .iter()
        .map(|(id, effect)| with_effect(Object::new().with("registrationId", id.as_str()), effect));
    Object::new()
        .with("lookedAt", told.n_devices)
        .with("unchanged", told.n_unchanged)
        .with("loses", count(|effect| matches!(effect, SimulatedEffect::Loses { .. })))
        .with("gains", count(|effect| matches!(effect, SimulatedEffect::Gains { .. })))
        .with("moves", count(|effect| matches!(effect, SimulatedEffect::Moves { .. })))
        .with("unknown", count(|effect| matches!(effect, SimulatedEffect::Unknown(_))))
        .with("isWhole", told.stopped.is_none())
        .with_some("stoppedBy", told.stopped.map(stop_word))
        .with("effects", Json::Array(effects.map(Object::build).collect()))
        .with("devices", Json::Array(named.map(Object::build).collect()))
        .build()
}

/// An answer, and what the change that it is about would mean: of a dry run.
#[must_use]
pub fn with_simulation(mut answer: Json, told: &Simulation) -> Json {
    answer.set("simulation", simulation(told));
    answer
}

fn with_effect(object: Object, effect: &SimulatedEffect) -> Object {
    let (word, from, to, why) = match effect {
        SimulatedEffect::Loses { was } => ("loses", Some(was), None, None),
        SimulatedEffect::Gains { by } => ("gains", None, Some(by), None),
        SimulatedEffect::Moves { from, to } => ("moves", Some(from), Some(to), None),
        SimulatedEffect::Unknown(why) => ("unknown", None, None, Some(*why)),
    };
    object
        .with("effect", word)
        .with_some("from", from.map(entry))
        .with_some("to", to.map(entry))
        .with_some("why", why.map(unknown_word))
}

fn entry(entry: &SimulatedEntry) -> Json {
    match entry {
        SimulatedEntry::Own => Object::new().with("kind", "enrollment").build(),
        SimulatedEntry::Group(id) => {
            Object::new().with("kind", "group").with("group", id.as_str()).build()
        }
    }
}

const fn stop_word(stop: SimulationStop) -> &'static str {
    match stop {
        SimulationStop::Devices => "devices",
        SimulationStop::Time => "time",
    }
}

const fn unknown_word(why: SimulatedUnknown) -> &'static str {
    match why {
        SimulatedUnknown::NotKept => "notKept",
        SimulatedUnknown::NoKey => "noKey",
        SimulatedUnknown::Unreadable => "unreadable",
    }
}
