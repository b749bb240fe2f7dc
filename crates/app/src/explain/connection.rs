//! Whether a device could connect to a hub, and why not.

use std::{collections::BTreeSet, net::Ipv4Addr};

use decide::{
    attestation::Shown,
    explain::{Verdict, evidence, would},
    hub::{
        cause,
        connect::{self, ConnectRequest},
    },
};
use model::{
    AttemptAsked, AttemptOutcome, AttestFailure, AuthenticationKind, ConnectFacts, ConnectRefusal,
    DeviceId, EnrollmentRef, Evidence, HubName, KnownProof, OperatorRefusal, Origin,
    RegistrationId, Shows, ban::registration_key,
};

use super::{Explained, HOLDS_KEY, NOT_LOOKED_AT, bad, in_play};
use crate::{App, No};

const OWN_KEY: &str = "It is taken for granted that the device signs with its primary key.";
const OWN_CERTIFICATE: &str = "It is taken for granted that the device shows the certificates that \
                               it showed when it was last admitted.";

impl App {
    /// What would become of a device that connects to a hub. It is admitted to nothing: no session
    /// begins, and one that it has goes on.
    pub(super) async fn explain_connection(
        &self,
        hub: HubName,
        device_id: DeviceId,
        shows: Option<Shows>,
    ) -> Result<Explained, No<OperatorRefusal>> {
        let attest = &self.settings.register.attest;
        let mut assumed = vec![NOT_LOOKED_AT.to_owned()];
        let evidence = match shows {
            Some(Shows::Key(key)) => evidence::connecting(&hub, &device_id, &key, self.clock.now()),
            Some(Shows::Certificates(chain)) => {
                assumed.push(HOLDS_KEY.to_owned());
                Evidence::X509(chain)
            }
            Some(Shows::Tpm(_)) => {
                return Err(bad("endorsementKey: a TPM connects with a key that it was given"));
            }
            None => self.of_identity(&hub, &device_id, &mut assumed).await?,
        };
        let is_open = evidence == Evidence::Nothing;
        let shown = Shown::parse(&evidence, &attest.limits);
        let nothing = Shown::Nothing;
        let request = ConnectRequest {
            hub: &hub,
            device_id: &device_id,
            shown: shown.as_ref().unwrap_or(&nothing),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let query = request.query();
        let mut facts = self.store.connect_facts(&query).await?;
        // They are about an address, and nobody has come from one.
        facts.settings.ip_rules.clear();
        let now = self.clock.now();
        let admitted = match &shown {
            Ok(_) => connect::admit(&facts, &request, attest, now).map(drop),
            Err(why) => Err(ConnectRefusal::NotAttested(why.clone())),
        };
        let verdict = match &admitted {
            Ok(()) => Verdict::Connects,
            Err(ConnectRefusal::NotAttested(AttestFailure::NoEvidence)) if is_open => {
                Verdict::Open { why: "its certificates are not kept here".to_owned() }
            }
            Err(refusal) => Verdict::Attempt(AttemptOutcome::of_connection(refusal)),
        };
        let origin = facts.origin.as_ref();
        let own = RegistrationId::parse(device_id.device()).ok();
        let mut keys: BTreeSet<String> = query.ban_keys.into_iter().collect();
        keys.extend(own.as_ref().map(registration_key));
        keys.extend(origin.into_iter().flat_map(cause::origin_ban_keys));
        if let Err(ConnectRefusal::Banned(ban)) = &admitted {
            keys.insert(ban.clone());
        }
        let asked = AttemptAsked::Connect { hub: hub.clone(), device_id: device_id.clone() };
        let entry = origin.map(|origin| origin.enrollment.clone());
        let mut told = would(&asked, &[], &verdict, entry.as_ref());
        told.steps = steps(&facts, &hub, &device_id);
        if let Err(ConnectRefusal::Banned(ban)) = &admitted {
            told.steps.push(format!("The ban `{ban}` keeps the device out."));
        }
        let registered = origin.map(|origin| origin.registration_id.clone()).or(own);
        let record = match &registered {
            Some(id) => self.store.find_record(id).await?,
            None => None,
        };
        let bans = in_play(facts.bans, &keys, now);
        Ok(Explained { asked, verdict, told, assumed, bans, record, attempt: None })
    }

    /// What the identity wants to be shown, as far as it is kept here.
    async fn of_identity(
        &self,
        hub: &HubName,
        device_id: &DeviceId,
        assumed: &mut Vec<String>,
    ) -> Result<Evidence, No<OperatorRefusal>> {
        let request = ConnectRequest {
            hub,
            device_id,
            shown: &Shown::Nothing,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let facts = self.store.connect_facts(&request.query()).await?;
        let Some(identity) = facts.identity else { return Ok(Evidence::Nothing) };
        let grounds = facts.origin.and_then(|origin| origin.grounds);
        Ok(match (identity.authentication.kind, identity.authentication.keys, grounds) {
            (AuthenticationKind::Sas, Some(keys), _) => {
                assumed.push(OWN_KEY.to_owned());
                evidence::connecting(hub, device_id, &keys.primary, self.clock.now())
            }
            (
                AuthenticationKind::SelfSigned | AuthenticationKind::CertificateAuthority,
                _,
                Some(model::Grounds { proof: KnownProof::Certificates(chain), .. }),
            ) => {
                assumed.extend([OWN_CERTIFICATE.to_owned(), HOLDS_KEY.to_owned()]);
                Evidence::X509(chain)
            }
            _ => Evidence::Nothing,
        })
    }
}

/// What was found, in words.
fn steps(facts: &ConnectFacts, hub: &HubName, device_id: &DeviceId) -> Vec<String> {
    let mut steps = Vec::new();
    if !facts.hub_is_built_in {
        steps.push(format!("`{hub}` is no built-in hub of this service."));
        return steps;
    }
    let Some(identity) = &facts.identity else {
        steps.push(format!("`{hub}` has no identity `{device_id}`."));
        return steps;
    };
    let wants = match identity.authentication.kind {
        AuthenticationKind::Sas => "a token signed with one of its keys",
        AuthenticationKind::SelfSigned => "a certificate with one of its thumbprints",
        AuthenticationKind::CertificateAuthority => "a certificate of a CA of this service",
    };
    let switched = |identity: &model::DeviceIdentity| match identity.status {
        model::DeviceStatus::Enabled => "enabled",
        model::DeviceStatus::Disabled => "disabled",
    };
    steps.push(format!(
        "`{hub}` has an identity `{device_id}`; it is {} and wants {wants}.",
        switched(identity)
    ));
    if let Some(parent) = &facts.parent {
        let id = &parent.device_id;
        steps.push(format!("Its device `{id}` is {}.", switched(parent)));
    }
    if let Some(Origin { registration_id, enrollment, entry, .. }) = &facts.origin {
        let by = match enrollment {
            EnrollmentRef::Individual(_) => "its individual enrollment".to_owned(),
            EnrollmentRef::Group(id) => format!("the group `{id}`"),
        };
        let stands = match entry {
            None => "is gone",
            Some(entry) if entry.is_enabled => "is enabled",
            Some(_) => "is disabled",
        };
        steps.push(format!("It was provisioned as `{registration_id}` by {by}, which {stands}."));
    }
    steps
}
