//! What would become of a device, in words: questions that nobody asked at a door.

use model::{AttemptAsked, AttemptOutcome, EnrollmentRef, Step};

use super::{Explanation, explain, named, who};

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What a door answers; for attempts that are kept, what it answered.
    Attempt(AttemptOutcome),
    /// The device proves itself, and the operator's webhook would be asked for its hub. Nobody asked
    /// it for an explanation.
    AsksWebhook,
    /// The device may connect.
    Connects,
    /// What the device would show is not known, and nothing keeps it out whatever that is.
    Open {
        /// Why it is not known, as part of a sentence.
        why: String,
    },
}

impl Verdict {
    /// Its name, one word: as of attempts where a door would answer.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Attempt(outcome) => outcome.name(),
            Self::AsksWebhook => "WebhookDecides",
            Self::Connects => "Connected",
            Self::Open { .. } => "NotKnown",
        }
    }

    /// Whether the device gets what it asks for; nothing where that is not known.
    #[must_use]
    pub const fn is_admission(&self) -> Option<bool> {
        match self {
            Self::Attempt(outcome) => Some(outcome.is_admission()),
            Self::Connects => Some(true),
            Self::AsksWebhook | Self::Open { .. } => None,
        }
    }
}

/// A decision that was made for a question alone, in words. The entry that decides is taken from the
/// steps where it is not given.
#[must_use]
pub fn would(
    asked: &AttemptAsked,
    steps: &[Step],
    verdict: &Verdict,
    entry: Option<&EnrollmentRef>,
) -> Explanation {
    let (who, standing) = (who(asked), AttemptOutcome::Challenged);
    let known = match verdict {
        Verdict::Attempt(outcome) => outcome,
        // Nothing is wrong with these.
        Verdict::AsksWebhook | Verdict::Connects | Verdict::Open { .. } => &standing,
    };
    let told = explain(asked, steps, known, entry);
    let outcome = match verdict {
        Verdict::Attempt(AttemptOutcome::Assigned { hub, device_id }) => {
            format!("{who} would be assigned to `{hub}` as `{device_id}`.")
        }
        Verdict::Attempt(AttemptOutcome::Assigning { hub, device_id }) => format!(
            "{who} would be assigned to `{hub}` as `{device_id}`, once that hub, which is \
             elsewhere, has been told."
        ),
        Verdict::Attempt(AttemptOutcome::Disabled) => {
            format!("{who} would prove itself and be told that its enrollment is disabled.")
        }
        Verdict::Attempt(AttemptOutcome::Failed(failure)) => format!(
            "{who} would prove itself and get no hub ({}): {}.",
            failure.code,
            failure.message.trim_end_matches('.')
        ),
        Verdict::Attempt(AttemptOutcome::Challenged) => {
            format!("{who} would be asked to prove that it holds the TPM's keys.")
        }
        Verdict::Attempt(AttemptOutcome::Refused(refusal)) => {
            format!("{who} would be refused: {refusal}.")
        }
        Verdict::Attempt(AttemptOutcome::NotConnected { reason, .. }) => {
            format!("{who} would not be let in: {}.", reason.trim_end_matches('.'))
        }
        Verdict::Attempt(AttemptOutcome::Fault) => told.outcome,
        Verdict::AsksWebhook => format!(
            "{who} would prove itself, and the webhook of {} would be asked which hub it gets.",
            named(told.entry.as_ref())
        ),
        Verdict::Connects => format!("{who} would be let in."),
        Verdict::Open { why } => {
            format!("What would become of {who} depends on what it shows: {why}.")
        }
    };
    let remedy = match verdict {
        Verdict::Attempt(_) => told.remedy,
        Verdict::Open { .. } => Some(
            "Ask again with what the device shows: its key, its certificates, or its TPM's \
             endorsement key."
                .to_owned(),
        ),
        Verdict::AsksWebhook | Verdict::Connects => None,
    };
    Explanation { outcome, remedy, ..told }
}

#[cfg(test)]
mod tests {
    use model::{AllocationPolicy, DeviceRefusal, EnrollmentGroupId, RegistrationId};

    use super::*;
    use crate::scenes::name;

    fn check(verdict: Verdict, is_admission: Option<bool>, outcome: &str, remedy: &str) {
        let registration_id = RegistrationId::parse("press-17").expect("legal");
        let asked = AttemptAsked::Register { registration_id, api_version: None };
        let group_id = EnrollmentGroupId::parse("line-4").expect("legal");
        let policy = AllocationPolicy::Custom;
        let steps = [
            Step::GroupDecides { group_id, by: "its primary certificate".to_owned() },
            Step::Allocated { policy, hub: name::hub("hub-1") },
        ];
        let told = would(&asked, &steps, &verdict, None);
        assert_eq!(told.steps.len(), steps.len());
        assert!(told.outcome.contains(outcome), "{told:?}");
        assert_eq!(verdict.is_admission(), is_admission);
        match remedy {
            "" => assert_eq!(told.remedy, None),
            part => assert!(told.remedy.as_deref().is_some_and(|text| text.contains(part))),
        }
    }

    #[test]
    fn what_has_not_happened_is_told_as_what_would() {
        let assigned = AttemptOutcome::Assigned {
            hub: name::hub("hub-1"),
            device_id: model::DeviceId::parse("press-17").expect("legal"),
        };
        let attempt = Verdict::Attempt;
        check(attempt(assigned), Some(true), "would be assigned", "");
        check(attempt(AttemptOutcome::Disabled), Some(false), "would prove itself", "Enable");
        let refused = AttemptOutcome::Refused(DeviceRefusal::UnknownIdScope);
        check(attempt(refused), Some(false), "would be refused", "ID scope");
        check(Verdict::AsksWebhook, None, "the webhook of the group `line-4` would be asked", "");
        check(Verdict::Connects, Some(true), "would be let in", "");
        let open = Verdict::Open { why: "nobody knows".to_owned() };
        check(open, None, "depends on what it shows: nobody knows", "Ask again");
    }
}
