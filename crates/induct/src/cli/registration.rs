//! `… registration …`: registration records, what is remembered of devices that registered
//! (O §1.11, §4.2).

mod orphans;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, path},
    complaint::Complaint,
    enrollment::Etag,
    enrollment_group::GroupId,
    target::ServiceTarget,
};

pub(super) use orphans::{WithRecords, seconds};

/// Manage registration records of whichever enrollment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct registration orphans list -o table
  induct registration orphans delete --older-than 30d

The records of one enrollment are where it is: `induct enrollment registration` and `induct
enrollment-group registration`.")]
pub struct Registration {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: RegistrationCommand,
}

/// What to do with registration records.
#[derive(Debug, Subcommand)]
enum RegistrationCommand {
    /// Records whose enrollment no longer exists.
    #[command(subcommand)]
    Orphans(orphans::Orphans),
}

/// The registration record of an individual enrollment's device.
#[derive(Debug, Subcommand)]
pub(super) enum IndividualRegistration {
    /// Show where the device was assigned, or why not.
    #[command(after_help = "Example:
  induct enrollment registration show --eid press-17")]
    Show(IndividualRecord),
    /// Forget the registration; the device's next one is an initial assignment again.
    #[command(after_help = "Example:
  induct enrollment registration delete --eid press-17

The device's identity in its hub stays; see `induct hub device-identity delete`.")]
    Delete(DeleteIndividualRecord),
}

/// Registration records of a group's devices.
#[derive(Debug, Subcommand)]
pub(super) enum GroupRegistration {
    /// List the records of a group's devices.
    #[command(after_help = "Examples:
  induct enrollment-group registration list --gid line-4
  induct enrollment-group registration list --gid line-4 --top 20 -o table")]
    List(ListRecords),
    /// Show where a device was assigned, or why not.
    #[command(after_help = "Example:
  induct enrollment-group registration show --rid press-17")]
    Show(Record),
    /// Forget a registration; the device's next one is an initial assignment again.
    #[command(after_help = "Example:
  induct enrollment-group registration delete --rid press-17

The device's identity in its hub stays; see `induct hub device-identity delete`.")]
    Delete(DeleteRecord),
}

#[derive(Debug, Args)]
pub(super) struct IndividualRecord {
    /// The registration ID.
    #[arg(long = "enrollment-id", visible_alias = "eid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    enrollment_id: String,
}

#[derive(Debug, Args)]
pub(super) struct DeleteIndividualRecord {
    #[command(flatten)]
    record: IndividualRecord,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
pub(super) struct ListRecords {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
pub(super) struct Record {
    /// The registration ID.
    #[arg(long = "registration-id", visible_alias = "rid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    registration_id: String,
}

#[derive(Debug, Args)]
pub(super) struct DeleteRecord {
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    etag: Etag,
}

impl Registration {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command: RegistrationCommand::Orphans(orphans) } = self;
        target.run(context, async |api| orphans.ask(api).await)
    }
}

impl IndividualRegistration {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        match self {
            Self::Show(show) => show_record(api, &show.enrollment_id).await,
            Self::Delete(delete) => {
                delete_record(api, &delete.record.enrollment_id, &delete.etag).await
            }
        }
    }
}

impl GroupRegistration {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        match self {
            Self::List(list) => {
                let path = path(["registrations", &list.id.group_id, "query"]);
                let records = api.list(&path, None, list.top).await?;
                Ok(Some(Answer::new(records, Sheet::Records)))
            }
            Self::Show(show) => show_record(api, &show.registration_id).await,
            Self::Delete(delete) => {
                delete_record(api, &delete.record.registration_id, &delete.etag).await
            }
        }
    }
}

async fn show_record(api: &Api, id: &str) -> Result<Option<Answer>, Complaint> {
    let record = api.get(&path(["registrations", id])).await?;
    Ok(Some(Answer::new(record, Sheet::Records)))
}

async fn delete_record(api: &Api, id: &str, etag: &Etag) -> Result<Option<Answer>, Complaint> {
    api.delete(&path(["registrations", id]), Some(&etag.etag)).await?;
    Ok(None)
}
