//! Why a device is admitted or refused: a question is decided as the doors decide, from the same
//! facts, and nothing is written; what became of an attempt is told from what was kept of it.

mod connection;

use std::collections::BTreeSet;

use decide::{
    attestation::{Known, Unknown},
    explain::{Explanation, Verdict, deciding_entry, evidence, would},
    register::{self, Decision, Prepared},
    tpm,
};
use model::{
    ApiVersion, AttemptAsked, AttemptFilter, AttemptOutcome, Ban, DeviceRefusal, EnrollmentRef,
    Evidence, Grounds, OperatorRefusal, Question, RegisterFacts, RegisterRequest, RegistrationId,
    RegistrationRecord, Shows, Step, StoredAttempt, Timestamp, TpmChallenge, TpmKeys,
    ban::{endorsement_key, registration_key, sha1_key, sha256_key},
};

use crate::{App, No};

/// How many times the store is asked for attempts that were refused, for one page of them.
const MAX_READS: usize = 8;

/// How much of a tracking ID a refusal repeats, in characters.
const MAX_ID_CHARS: usize = 64;

const NOT_LOOKED_AT: &str = "IP rules and limits on how often may be asked were not looked at: they \
                             depend on where a device asks from.";
const HOLDS_KEY: &str = "It is taken for granted that the device holds the private key to its \
                         certificate; nobody has proven that here.";
const HOLDS_TPM: &str = "It is taken for granted that the device's TPM can answer a challenge; \
                         nobody has proven that here.";
const SHOWS_THE_SAME: &str = "It is taken for granted that the device shows what it showed when it \
                              was last admitted.";
const NO_STORAGE_ROOT_KEY: &str = "Which hub the device would get is not told, because the TPM's \
                                   storage root key is not known here.";

/// An answer to the question why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What was asked for.
    pub asked: AttemptAsked,
    /// What came of it, or would come of it.
    pub verdict: Verdict,
    /// How it was decided, in words, by which entry, and what to change.
    pub told: Explanation,
    /// What was taken for granted and what was not looked at, a sentence each.
    pub assumed: Vec<String>,
    /// The bans in force on the device or on what it showed, in the order of their keys.
    pub bans: Vec<Ban>,
    /// The device's registration as it stands, if it has one.
    pub record: Option<RegistrationRecord>,
    /// The attempt, where one was asked about.
    pub attempt: Option<StoredAttempt>,
}

/// Some attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptPage {
    /// The attempts, the latest first. There may be none before the last page.
    pub items: Vec<StoredAttempt>,
    /// Where the next page begins: attempts with numbers below this. `None` on the last one.
    pub next: Option<u64>,
}

/// A decision, before it is put into words.
struct Decided {
    asked: AttemptAsked,
    steps: Vec<Step>,
    verdict: Verdict,
    entry: Option<EnrollmentRef>,
    facts: RegisterFacts,
    /// The keys of bans on the device and on what was shown.
    ban_keys: Vec<String>,
    assumed: Vec<String>,
}

/// Where the decision about a TPM ends without a challenge that could be answered.
struct Unchallenged {
    outcome: AttemptOutcome,
    steps: Vec<Step>,
    /// What is not known here, and so not told.
    assumption: Option<&'static str>,
}

impl App {
    /// What would become of a device, and why. Nothing is written, nobody is asked and no attempt is
    /// kept; what is answered was so at one moment.
    ///
    /// # Errors
    /// [`OperatorRefusal::BadRequest`] for a certificate that does not say whose it is; a fault of
    /// the store.
    pub async fn explain(&self, question: Question) -> Result<Explained, No<OperatorRefusal>> {
        match question {
            Question::Register { registration_id, shows, api_version } => {
                self.explain_registration(registration_id, shows, api_version).await
            }
            Question::Connect { hub, device_id, shows } => {
                self.explain_connection(hub, device_id, shows).await
            }
        }
    }

    /// What became of an attempt, and why, by the tracking ID that the device was given; its first
    /// one, or that of its last repetition.
    ///
    /// # Errors
    /// [`OperatorRefusal::AttemptNotFound`], or a fault.
    pub async fn explain_attempt(
        &self,
        tracking_id: &str,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let filter = AttemptFilter::TrackingId(tracking_id.to_owned());
        let found = self.list_attempts(&filter, None, 1).await?.into_iter().next();
        let Some(stored) = found else {
            let cut = tracking_id.chars().take(MAX_ID_CHARS).collect();
            return Err(No::Refused(OperatorRefusal::AttemptNotFound(cut)));
        };
        let attempt = &stored.attempt;
        let named = match &attempt.asked {
            AttemptAsked::Register { registration_id, .. } => Some(registration_id.clone()),
            // Hubs' names for devices allow more than registration IDs do.
            AttemptAsked::Connect { device_id, .. } => {
                RegistrationId::parse(device_id.device()).ok()
            }
        };
        let record = match &named {
            Some(id) => self.store.find_record(id).await?,
            None => None,
        };
        let shown = &attempt.shown;
        let decisive = attempt.steps.iter().find_map(banned_by);
        let keys: BTreeSet<String> = named
            .iter()
            .map(registration_key)
            .chain(shown.leaf_sha256.iter().map(sha256_key))
            .chain(shown.leaf_sha1.iter().map(sha1_key))
            .chain(shown.endorsement_key.iter().map(endorsement_key))
            .chain(decisive.map(str::to_owned))
            .collect();
        let now = self.clock.now();
        let mut bans = Vec::new();
        for key in keys {
            bans.extend(self.store.find_ban(&key).await?.filter(|ban| ban.is_in_force(now)));
        }
        Ok(Explained {
            asked: attempt.asked.clone(),
            verdict: Verdict::Attempt(attempt.outcome.clone()),
            told: decide::explain::attempt(attempt),
            assumed: Vec::new(),
            bans,
            record,
            attempt: Some(stored),
        })
    }

    /// A page of attempts that pass the filter, the latest first: those with numbers below `before`,
    /// at most `limit`. Of those that were refused alone, a page may be short, or empty, and there
    /// are more all the same.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn page_of_attempts(
        &self,
        filter: &AttemptFilter,
        only_refused: bool,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AttemptPage, No<OperatorRefusal>> {
        let (limit, mut next) = (limit.max(1), before);
        let mut items = Vec::new();
        // One more than the page holds tells whether there is another.
        let size = limit.saturating_add(1);
        for _ in 0..MAX_READS {
            let read = self.list_attempts(filter, next, size).await?;
            let is_last = read.len() < size;
            for stored in read {
                if items.len() == limit {
                    return Ok(AttemptPage { items, next });
                }
                next = Some(stored.number);
                if !(only_refused && stored.attempt.outcome.is_admission()) {
                    items.push(stored);
                }
            }
            if is_last {
                return Ok(AttemptPage { items, next: None });
            }
            if items.len() == limit {
                break;
            }
        }
        Ok(AttemptPage { items, next })
    }

    async fn explain_registration(
        &self,
        registration_id: Option<RegistrationId>,
        shows: Option<Shows>,
        api_version: ApiVersion,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let attest = &self.settings.register.attest;
        let mut assumed = vec![NOT_LOOKED_AT.to_owned()];
        let named = registration_id.ok_or_else(|| bad("registrationId: is required"));
        let (registration_id, evidence) = match shows {
            Some(Shows::Certificates(chain)) => {
                let evidence = Evidence::X509(chain);
                let id = match named {
                    Ok(id) => id,
                    Err(_) => self.named_by(&evidence)?,
                };
                (id, evidence)
            }
            Some(Shows::Key(key)) => {
                let id = named?;
                let evidence = evidence::registering(&id, &key, attest, self.clock.now());
                (id, evidence)
            }
            Some(Shows::Tpm(keys)) => (named?, Evidence::Tpm(keys)),
            None => {
                let id = named?;
                match self.known_device(&id).await? {
                    Ok(known) => {
                        assumed.push(SHOWS_THE_SAME.to_owned());
                        known
                    }
                    Err(unknown) => return self.explain_open(id, &unknown, api_version).await,
                }
            }
        };
        assumed.extend(match &evidence {
            Evidence::X509(_) => Some(HOLDS_KEY.to_owned()),
            Evidence::Tpm(_) | Evidence::TpmAnswer { .. } => Some(HOLDS_TPM.to_owned()),
            Evidence::Sas(_) | Evidence::Nothing => None,
        });
        let request = RegisterRequest { registration_id, evidence, payload: None, api_version };
        self.decide_about(request, assumed).await
    }

    /// Whose certificate it is, by its common name.
    fn named_by(&self, evidence: &Evidence) -> Result<RegistrationId, No<OperatorRefusal>> {
        let limits = &self.settings.register.attest.limits;
        let name = evidence::common_name(evidence, limits)
            .map_err(|why| bad(&format!("certificate: {why}; say the registrationId")))?;
        RegistrationId::parse(&name).map_err(|why| {
            bad(&format!("certificate: its common name is no registration ID, {why}; say one"))
        })
    }

    /// A device that was admitted before, and what it would show again.
    async fn known_device(
        &self,
        id: &RegistrationId,
    ) -> Result<Result<(RegistrationId, Evidence), Unknown>, No<OperatorRefusal>> {
        let attest = &self.settings.register.attest;
        let query = |grounds: &Grounds| Known::query(id, grounds, &attest.limits);
        let facts = match self.facts_of_known(id, query).await? {
            Ok(facts) => facts,
            Err(unknown) => return Ok(Err(unknown)),
        };
        // What was read together belongs together.
        let Some(grounds) = &facts.grounds else { return Ok(Err(Unknown::NotKept)) };
        Ok(Known::of(&facts, &attest.limits).map(|known| {
            let evidence = known.evidence(grounds, attest, self.clock.now());
            (known.registration_id().clone(), evidence)
        }))
    }

    /// Asks as a door does.
    async fn decide_about(
        &self,
        request: RegisterRequest,
        mut assumed: Vec<String>,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let settings = &self.settings.register;
        let attest = &settings.attest;
        let asked = asked(&request);
        let mut prepared = match Prepared::new(request.clone(), &attest.limits) {
            Ok(prepared) => prepared,
            Err(refusal) => return self.unreadable(&request, asked, refusal, assumed).await,
        };
        let mut facts = self.register_facts(&prepared).await?;
        let mut ban_keys = prepared.query().ban_keys;
        ban_keys.push(registration_key(&request.registration_id));
        if let Evidence::Tpm(keys) = &request.evidence {
            let now = self.clock.now();
            let challenge = match self.challenge(&facts, &prepared, keys, now) {
                Ok(challenge) => challenge,
                Err(Unchallenged { outcome, steps, assumption }) => {
                    assumed.extend(assumption.map(str::to_owned));
                    let (verdict, entry) = (Verdict::Attempt(outcome), None);
                    let decided =
                        Decided { asked, steps, verdict, entry, facts, ban_keys, assumed };
                    return Ok(decided.explained(now));
                }
            };
            // The challenge is put to nobody and kept nowhere; its answer is decided about all the
            // same, as over AMQP, where the connection keeps it.
            let evidence = evidence::answering(challenge, attest, now);
            let answered = RegisterRequest { evidence, ..request.clone() };
            prepared = match Prepared::new(answered, &attest.limits) {
                Ok(prepared) => prepared,
                Err(refusal) => return self.unreadable(&request, asked, refusal, assumed).await,
            };
            facts = self.register_facts(&prepared).await?;
        }
        let now = self.clock.now();
        let decided = register::register(&facts, &prepared, settings, now, &self.fresh());
        let (verdict, entry) = match decided.answer {
            Decision::Refuse(refusal) => (Verdict::Attempt(AttemptOutcome::Refused(refusal)), None),
            Decision::Ask(_) => (Verdict::AsksWebhook, None),
            Decision::Settle(settlement) => {
                let outcome = AttemptOutcome::of_record(&settlement.record);
                (Verdict::Attempt(outcome), Some(settlement.record.enrollment))
            }
        };
        let steps = decided.steps;
        Ok(Decided { asked, steps, verdict, entry, facts, ban_keys, assumed }.explained(now))
    }

    /// The challenge that a door would put to a TPM with these keys.
    fn challenge(
        &self,
        facts: &RegisterFacts,
        prepared: &Prepared,
        keys: &TpmKeys,
        now: Timestamp,
    ) -> Result<TpmChallenge, Unchallenged> {
        let attest = &self.settings.register.attest;
        let challenged = tpm::challenge(facts, prepared, attest, now, &self.fresh());
        let mut steps = challenged.steps;
        let refusal = match challenged.answer {
            Ok(challenge) => return Ok(challenge.challenge),
            Err(refusal) => refusal,
        };
        let lacks_storage_root_key =
            matches!(refusal, DeviceRefusal::BadRequest(_)) && keys.storage_root_key.is_none();
        if !lacks_storage_root_key {
            let outcome = AttemptOutcome::Refused(refusal);
            return Err(Unchallenged { outcome, steps, assumption: None });
        }
        let outcome = match is_enabled(facts, deciding_entry(&steps).as_ref()) {
            true => AttemptOutcome::Challenged,
            false => {
                steps.push(Step::EnrollmentDisabled);
                AttemptOutcome::Disabled
            }
        };
        Err(Unchallenged { outcome, steps, assumption: Some(NO_STORAGE_ROOT_KEY) })
    }

    /// What the device shows is refused before anything is looked up.
    async fn unreadable(
        &self,
        request: &RegisterRequest,
        asked: AttemptAsked,
        refusal: DeviceRefusal,
        assumed: Vec<String>,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let verdict = Verdict::Attempt(AttemptOutcome::Refused(refusal));
        let id = &request.registration_id;
        let (record, ban) =
            (self.store.find_record(id).await?, self.store.find_ban(&registration_key(id)).await?);
        let now = self.clock.now();
        Ok(Explained {
            told: would(&asked, &[], &verdict, None),
            asked,
            verdict,
            assumed,
            bans: ban.into_iter().filter(|ban| ban.is_in_force(now)).collect(),
            record,
            attempt: None,
        })
    }

    /// What can be said of a device of which nobody knows what it would show.
    async fn explain_open(
        &self,
        registration_id: RegistrationId,
        unknown: &Unknown,
        api_version: ApiVersion,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let evidence = Evidence::Nothing;
        let request = RegisterRequest { registration_id, evidence, payload: None, api_version };
        let mut open = self.decide_about(request, vec![NOT_LOOKED_AT.to_owned()]).await?;
        let banned = matches!(
            open.verdict,
            Verdict::Attempt(AttemptOutcome::Refused(DeviceRefusal::Banned { .. }))
        );
        if !banned {
            // That it showed nothing is our doing.
            let nothing =
                decide::explain::step(&Step::AttestationFailed(model::AttestFailure::NoEvidence));
            open.told.steps.retain(|step| *step != nothing);
            open.verdict = Verdict::Open { why: unknown.to_string() };
            let mut told = would(&open.asked, &[], &open.verdict, open.told.entry.as_ref());
            if let Some(EnrollmentRef::Individual(id)) = &open.told.entry
                && let Some(enrollment) = self.store.individual_facts(id).await?.enrollment
                && !enrollment.terms.is_enabled()
            {
                open.told.steps.push(decide::explain::step(&Step::EnrollmentDisabled));
                told.remedy = Some(format!("Enable the individual enrollment of `{id}`."));
            }
            told.steps = open.told.steps;
            open.told = told;
        }
        Ok(open)
    }
}

impl Decided {
    /// In words, with what else is to be known of the device.
    fn explained(self, now: Timestamp) -> Explained {
        let Self { asked, steps, verdict, entry, facts, ban_keys, assumed } = self;
        let keys: BTreeSet<String> = ban_keys
            .into_iter()
            .chain(steps.iter().find_map(banned_by).map(str::to_owned))
            .collect();
        Explained {
            told: would(&asked, &steps, &verdict, entry.as_ref()),
            bans: in_play(facts.bans, &keys, now),
            asked,
            verdict,
            assumed,
            record: facts.record,
            attempt: None,
        }
    }
}

fn asked(request: &RegisterRequest) -> AttemptAsked {
    AttemptAsked::Register {
        registration_id: request.registration_id.clone(),
        api_version: Some(request.api_version),
    }
}

/// The ban that a step tells of.
fn banned_by(step: &Step) -> Option<&str> {
    match step {
        Step::Banned { ban } => Some(ban),
        _ => None,
    }
}

/// Those of the bans that count and have one of these keys.
fn in_play(bans: Vec<Ban>, keys: &BTreeSet<String>, now: Timestamp) -> Vec<Ban> {
    let is_about = |ban: &Ban| ban.subject.keys().any(|key| keys.contains(&key));
    let counts = |ban: &Ban| ban.is_in_force(now) && is_about(ban);
    bans.into_iter().filter(counts).collect()
}

fn is_enabled(facts: &RegisterFacts, entry: Option<&EnrollmentRef>) -> bool {
    let terms = match entry {
        Some(EnrollmentRef::Individual(_)) => facts.individual.as_ref().map(|one| &one.terms),
        Some(EnrollmentRef::Group(id)) => {
            facts.groups.iter().find(|group| group.group_id == *id).map(|group| &group.terms)
        }
        None => None,
    };
    terms.is_none_or(|terms| terms.is_enabled())
}

/// What attempts of a TPM are found by: the hash of its endorsement key, TPM2B_PUBLIC.
#[must_use]
pub fn endorsement_key_hash(key: &[u8]) -> [u8; 32] {
    decide::manage::bans::sha256(key)
}

fn bad(text: &str) -> No<OperatorRefusal> {
    No::Refused(OperatorRefusal::BadRequest(text.to_owned()))
}
