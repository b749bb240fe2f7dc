//! `induct tpm group …`: groups of TPMs, by the issuers of their endorsement keys' certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::Json;

use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, Top, own_path},
    complaint::Complaint,
    document::members,
    enrollment::{
        Etag,
        attestation::{self, Removals},
        fields::SharedFields,
    },
    enrollment_group::GroupId,
    input::CertificatePaths,
    registration::{GroupRegistration, WithRecords},
    simulate_change::foresee::Foreseen,
};

/// Manage groups of TPMs: an extension of Induct.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct tpm group create --gid works-tpms --cp vendor-root.pem
  induct tpm group update --gid works-tpms --ps disabled           Refuse all of them.
  induct tpm group registration list --gid works-tpms -o table

A TPM of the group registers under the ID that `induct tpm show` prints, and shows its certificate
over HTTPS, in tpm.endorsementCertificates; the vendor's own clients do not. The vendor's API shows
neither these groups nor their certificates; their registration records it does. What is set on
them beside, `induct enrollment-group settings` shows and sets.")]
pub(super) struct Group {
    #[command(subcommand)]
    command: GroupCommand,
}

/// What to do with groups of TPMs.
#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Enroll the TPMs of a vendor.
    #[command(after_help = "Examples:
  induct tpm group create --gid works-tpms --cp vendor-root.pem --scp vendor-next-root.pem
  induct tpm group create --gid works-tpms --cp issuer.cer --ap static --ih hub-1.localhost")]
    Create(Box<Create>),
    /// Change a group; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct tpm group update --gid works-tpms --ps disabled
  induct tpm group update --gid works-tpms --scp vendor-next-root.pem
  induct tpm group update --gid works-tpms --rc                    Drop the old primary.")]
    Update(Box<Change>),
    /// List groups of TPMs.
    #[command(after_help = "Examples:
  induct tpm group list
  induct tpm group list --top 20 -o table")]
    List(List),
    /// Show a group.
    #[command(after_help = "Example:
  induct tpm group show --gid works-tpms")]
    Show(Show),
    /// Delete a group. Its registration records stay, and count, unless they are to go too.
    #[command(after_help = "Examples:
  induct tpm group delete --gid works-tpms
  induct tpm group delete --gid works-tpms --with-records

The devices' identities stay on their hubs either way.")]
    Delete(Delete),
    /// Registration records of a group's devices.
    #[command(subcommand)]
    Registration(GroupRegistration),
}

/// The vendors' certificates.
#[derive(Debug, Args)]
struct Issuers {
    /// The primary certificate of a TPM vendor, a root or one below it: a .pem or .cer file.
    #[arg(long = "certificate-path", visible_alias = "cp", value_name = "FILE")]
    certificate_path: Option<PathBuf>,
    /// The secondary certificate of a TPM vendor: a .pem or .cer file.
    #[arg(long = "secondary-certificate-path", visible_alias = "scp", value_name = "FILE")]
    secondary_certificate_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    issuers: Issuers,
    #[command(flatten)]
    shared: SharedFields,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    issuers: Issuers,
    #[command(flatten)]
    removals: Removals,
    #[command(flatten)]
    shared: SharedFields,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    id: GroupId,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    with: WithRecords,
    #[command(flatten)]
    etag: Etag,
}

/// The path of groups of TPMs.
const GROUPS: &str = "tpmEnrollmentGroups";

fn path(id: &GroupId) -> String {
    own_path([GROUPS, &id.group_id])
}

impl Group {
    /// The change that is worth a warning, if it is one.
    pub(super) fn foreseen(&self) -> Option<Foreseen> {
        match &self.command {
            GroupCommand::Delete(delete) => Some(Foreseen::DeleteGroup(delete.id.group_id.clone())),
            GroupCommand::Update(change) if change.shared.disables() => {
                Some(Foreseen::DisableGroup(change.id.group_id.clone()))
            }
            _ => None,
        }
    }

    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let json = match self.command {
            GroupCommand::Create(create) => create.ask(api).await?,
            GroupCommand::Update(change) => change.ask(api).await?,
            GroupCommand::List(list) => api.list_with(&own_path([GROUPS]), &[], list.top).await?,
            GroupCommand::Show(show) => api.get(&path(&show.id)).await?,
            GroupCommand::Delete(Delete { id, with, etag }) => {
                if with.is_plain() {
                    api.delete(&path(&id), Some(&etag.etag)).await?;
                    return Ok(None);
                }
                return with.delete(api, &path(&id), &id.group_id, &etag.etag).await.map(Some);
            }
            GroupCommand::Registration(registration) => return registration.ask(api).await,
        };
        Ok(Some(Answer::new(json, Sheet::Groups)))
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        if self.issuers.paths().is_empty() {
            return Err(Complaint::new("Please provide at least one certificate path")
                .with_remedy("--certificate-path names the certificate of a TPM vendor."));
        }
        let mut document = Json::empty_object();
        document.set("enrollmentGroupId", Json::from(self.id.group_id.as_str()));
        document.set("attestation", attested_by(self.issuers.write(Json::empty_object())?));
        self.shared.write_new(&mut document)?;
        api.put(&path(&self.id), None, &document).await
    }
}

impl Change {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = path(&self.id);
        let mut document = api.get(&path).await?;
        let tpm = document.get("attestation").and_then(|attestation| attestation.get("tpm"));
        let issuers = tpm.and_then(|tpm| tpm.get("issuers")).cloned();
        let mut issuers = issuers.unwrap_or_else(Json::empty_object);
        self.removals.write(&mut issuers);
        let issuers = self.issuers.write(issuers)?;
        if issuers.as_object().is_none_or(|slots| slots.is_empty()) {
            return Err(Complaint::new(attestation::ONE_CERTIFICATE));
        }
        document.set("attestation", attested_by(issuers));
        self.shared.write_changes(&mut document)?;
        api.put(&path, Some(&self.etag.etag), &document).await
    }
}

impl Issuers {
    const fn paths(&self) -> CertificatePaths<'_> {
        CertificatePaths {
            primary: self.certificate_path.as_ref(),
            secondary: self.secondary_certificate_path.as_ref(),
        }
    }

    /// These slots with those that were given. A slot that stays keeps its `info` as it was read,
    /// by which the service knows to keep its certificate.
    fn write(&self, mut slots: Json) -> Result<Json, Complaint> {
        for (slot, certificate) in self.paths().read()? {
            if let Some(certificate) = certificate {
                slots.set(slot, certificate);
            }
        }
        Ok(slots)
    }
}

fn attested_by(issuers: Json) -> Json {
    members([("type", Json::from("tpm")), ("tpm", members([("issuers", issuers)]))])
}
