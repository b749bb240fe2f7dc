//! The enrollment group that simulated devices register with, made and removed by the operator
//! API.

use std::collections::BTreeMap;

use app::ports::Entropy;
use futures_util::{StreamExt, TryStreamExt, stream};
use model::{Json, SymmetricKey};

use super::{Assignment, Authority, Credentials, Ended};
use crate::{
    cli::{
        api::{Api, Top, path},
        complaint::{Complaint, Kind},
        document::members,
    },
    login::Login,
    ports::SystemEntropy,
};

/// How many things are removed at the same time.
const AT_ONCE: usize = 8;
const GROUPS: &str = "enrollmentGroups";

/// An enrollment group, and what its devices prove themselves with.
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) credentials: Credentials,
    /// Whether it was made for the simulation.
    pub(crate) is_ours: bool,
}

/// What was removed, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) n_records: usize,
    pub(crate) n_identities: usize,
    /// How many identities stay in hubs that cannot be reached from here, by host name.
    pub(crate) stay: BTreeMap<String, usize>,
}

impl Group {
    /// A name that no group has.
    pub(crate) fn new_name() -> String {
        let mut random = [0; 4];
        SystemEntropy.fill(&mut random);
        format!("simulated-{:08x}", u32::from_be_bytes(random))
    }

    /// The group of this name with its key, if there is one.
    ///
    /// # Errors
    /// What the service answered; also for a group with certificates.
    pub(crate) async fn find(api: &Api, id: &str) -> Result<Option<Self>, Complaint> {
        let path = path([GROUPS, id]);
        let group = match api.get(&path).await {
            Ok(group) => group,
            Err(complaint) if complaint.kind == Kind::NotFound => return Ok(None),
            Err(complaint) => return Err(complaint),
        };
        let kind = group.get("attestation").and_then(|a| a.get("type")).and_then(Json::as_str);
        if kind != Some("symmetricKey") {
            return Err(Complaint::misuse(format!(
                "The enrollment group `{id}` exists and its devices have certificates."
            ))
            .with_remedy(
                "Pass the CA that makes them, --ca-cert and --ca-key, or another group's name.",
            ));
        }
        let attestation = api.post(&format!("{path}/attestationmechanism"), None).await?;
        let keys = attestation.get("symmetricKey");
        let key = keys.and_then(|keys| keys.get("primaryKey")).and_then(Json::as_str);
        let key = key.and_then(|key| SymmetricKey::parse(key).ok()).ok_or_else(|| {
            Complaint::new("The service did not show the enrollment group's primary key.")
        })?;
        Ok(Some(Self { id: id.to_owned(), credentials: Credentials::Key(key), is_ours: false }))
    }

    /// Makes a group whose devices have keys.
    ///
    /// # Errors
    /// What the service answered.
    pub(crate) async fn create_with_key(api: &Api, id: &str) -> Result<Self, Complaint> {
        let [primary, secondary] = [new_key(), new_key()];
        let keys = members([
            ("primaryKey", Json::from(primary.reveal())),
            ("secondaryKey", Json::from(secondary.reveal())),
        ]);
        create(api, id, "symmetricKey", keys, Credentials::Key(primary)).await
    }

    /// Makes a group whose devices have certificates of this CA.
    ///
    /// # Errors
    /// What the service answered.
    pub(crate) async fn create_with_authority(
        api: &Api,
        id: &str,
        authority: Authority,
    ) -> Result<Self, Complaint> {
        let certificate = members([("certificate", Json::from(authority.pem()))]);
        let slots = members([("primary", certificate)]);
        let x509 = members([("signingCertificates", slots)]);
        create(api, id, "x509", x509, Credentials::Authority(Box::new(authority))).await
    }

    /// Removes the group, its registration records, and the identities that provisioning made for
    /// its devices. Of hubs that `hub` knows no login for, the identities stay.
    ///
    /// # Errors
    /// What a server answered; what is gone by then stays gone.
    pub(crate) async fn remove(
        &self,
        service: &Login,
        ended: &[Ended],
        hub: impl AsyncFn(&str) -> Option<Login>,
    ) -> Result<Removed, Complaint> {
        let api = open(service)?;
        // First of all, so that nobody registers any more.
        gone(api.delete(&path([GROUPS, &self.id]), Some("*")).await)?;
        let records = api.list(&path(["registrations", &self.id, "query"]), None, Top::ALL).await?;
        let Json::Array(records) = records else {
            return Err(Complaint::new("The service's answer is no list of records."));
        };
        let ids: Vec<&str> = records
            .iter()
            .filter_map(|record| record.get("registrationId").and_then(Json::as_str))
            .collect();
        let paths = ids.iter().map(|id| path(["registrations", id])).collect();
        let mut removed = Removed {
            n_records: delete_all(service, Api::of_service, paths, "*").await?,
            ..Removed::default()
        };
        let mut by_hub: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for Assignment { hub, device_id } in ended.iter().filter_map(|ended| ended.made.as_ref()) {
            by_hub.entry(hub).or_default().push(path(["devices", device_id]));
        }
        for (host, paths) in by_hub {
            match hub(host).await {
                Some(login) => {
                    removed.n_identities += delete_all(&login, Api::of_hub, paths, "\"*\"").await?;
                }
                None => {
                    removed.stay.insert(host.to_owned(), paths.len());
                }
            }
        }
        Ok(removed)
    }
}

async fn create(
    api: &Api,
    id: &str,
    kind: &str,
    mechanism: Json,
    credentials: Credentials,
) -> Result<Group, Complaint> {
    let attestation = members([("type", Json::from(kind)), (kind, mechanism)]);
    let document = members([
        ("enrollmentGroupId", Json::from(id)),
        ("attestation", attestation),
        ("provisioningStatus", Json::from("enabled")),
    ]);
    api.put(&path([GROUPS, id]), None, &document).await?;
    Ok(Group { id: id.to_owned(), credentials, is_ours: true })
}

fn new_key() -> SymmetricKey {
    let mut random = [0; 64];
    SystemEntropy.fill(&mut random);
    SymmetricKey::generated(&random)
}

/// How a login becomes an API.
type Opener = fn(Login, bool) -> Result<Api, crate::client::ClientError>;

fn open(login: &Login) -> Result<Api, Complaint> {
    Api::of_service(login.clone(), false).map_err(|error| Complaint::new(error.to_string()))
}

/// Deletes all of these, over several connections; how many there were.
async fn delete_all(
    login: &Login,
    opener: Opener,
    paths: Vec<String>,
    if_match: &str,
) -> Result<usize, Complaint> {
    let n_paths = paths.len();
    let size = n_paths.div_ceil(AT_ONCE).max(1);
    let shares = paths.chunks(size).map(async |share| {
        let api = opener(login.clone(), false).map_err(|e| Complaint::new(e.to_string()))?;
        for path in share {
            gone(api.delete(path, Some(if_match)).await)?;
        }
        Ok::<_, Complaint>(())
    });
    stream::iter(shares).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(n_paths)
}

/// What is gone already is as gone as it shall be.
fn gone(deleted: Result<(), Complaint>) -> Result<(), Complaint> {
    match deleted {
        Err(complaint) if complaint.kind == Kind::NotFound => Ok(()),
        other => other,
    }
}
