//! `induct enrollment …`: individual enrollments (O §4.2, §4.3).

pub(super) mod attestation;
pub(super) mod fields;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use self::{
    attestation::{AuthorityNames, Credentials, Removals, TpmKeys, Update},
    fields::SharedFields,
};
use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, path},
    complaint::Complaint,
    input::{object, switch},
    registration::IndividualRegistration,
    simulate_change::foresee::{self, Foreseen},
    target::ServiceTarget,
    tpm::endorsement::{self, EndorsementFiles},
};

/// Manage individual enrollments: what you promise about one device.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct enrollment create --eid press-17 --at symmetricKey
  induct enrollment create --eid press-17 --at x509 --cp press-17.pem
  induct enrollment update --eid press-17 --ps disabled      Refuse the device from now on.
  induct enrollment list -o table
  induct enrollment registration show --eid press-17         Where was it assigned?

Disabling or deleting an enrollment does not touch the device's identity in its hub; disable or
delete that as well with `induct hub device-identity`.")]
pub struct Enrollment {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: EnrollmentCommand,
}

/// What to do with individual enrollments.
#[derive(Debug, Subcommand)]
enum EnrollmentCommand {
    /// Enroll a device.
    #[command(after_help = "Examples:
  induct enrollment create --eid press-17 --at symmetricKey --tags '{\"line\": 4}'
  induct enrollment create --eid press-17 --at x509 --cp press-17.pem --scp press-17-next.pem
  induct enrollment create --eid press-17 --at tpm --ek AToAAQALAAMAsgAg...
      `induct tpm show` prints this line for a TPM, with its keys.
  induct enrollment create --eid press-17 --at tpm --ek @ek.pub --ek-root vendor-root.pem
      Only with a certificate of the TPM's vendor: an extension of Induct.
  induct enrollment create --eid press-17 --at symmetricKey --ps disabled
      Exclude one device of a group: its registration ID, whatever the group attests by.")]
    Create(Box<Create>),
    /// Change an enrollment; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct enrollment update --eid press-17 --ps disabled
  induct enrollment update --eid press-17 --cp renewed.pem --rsc
  induct enrollment update --eid press-17 --ap static --ih hub-1.localhost")]
    Update(Box<Change>),
    /// List individual enrollments.
    #[command(after_help = "Examples:
  induct enrollment list
  induct enrollment list --top 20 -o table")]
    List(List),
    /// Show an enrollment, and where its device stands.
    #[command(after_help = "Examples:
  induct enrollment show --eid press-17
  induct enrollment show --eid press-17 --show-keys")]
    Show(Show),
    /// Delete an enrollment and its registration record.
    #[command(after_help = "Example:
  induct enrollment delete --eid press-17

A device that also belongs to an enabled group comes back through that group.")]
    Delete(Delete),
    /// The registration record of an enrollment's device.
    #[command(subcommand)]
    Registration(IndividualRegistration),
}

/// `--enrollment-id`
#[derive(Debug, Args)]
struct Id {
    /// The registration ID: the name the device registers under; with X.509, its certificate's CN.
    #[arg(long = "enrollment-id", visible_alias = "eid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    enrollment_id: String,
}

/// Options of individual enrollments only.
#[derive(Debug, Args)]
struct IndividualFields {
    /// The device's name in its hub; "" for the registration ID, the default.
    #[arg(short = 'd', long = "device-id", value_name = "ID")]
    device_id: Option<String>,
    /// Notes kept with the enrollment: JSON text, a path, or @path; "" for none.
    #[arg(long = "device-information", visible_alias = "info", value_name = "JSON")]
    device_information: Option<String>,
    #[command(flatten)]
    tpm: TpmKeys,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    id: Id,
    /// How the device proves itself: symmetricKey, tpm or x509.
    #[arg(long = "attestation-type", visible_alias = "at", value_name = "TYPE")]
    attestation_type: String,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    individual: IndividualFields,
    #[command(flatten)]
    endorsement: EndorsementFiles,
    #[command(flatten)]
    shared: SharedFields,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    removals: Removals,
    #[command(flatten)]
    individual: IndividualFields,
    #[command(flatten)]
    shared: SharedFields,
    #[command(flatten)]
    etag: Etag,
}

/// `--etag`
#[derive(Debug, Args)]
pub(super) struct Etag {
    /// Only if it is still as read: the etag of `show`. `*` is any.
    #[arg(short = 'e', long = "etag", value_name = "ETAG", default_value = "*")]
    pub(super) etag: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    keys: ShowKeys,
}

/// `--show-keys`
#[derive(Debug, Args)]
pub(super) struct ShowKeys {
    /// Show the symmetric keys as well.
    #[arg(long = "show-keys", visible_alias = "keys", value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(super) show_keys: bool,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    etag: Etag,
}

/// The path of individual enrollments.
const ENROLLMENTS: &str = "enrollments";

impl Enrollment {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        let foreseen = command.foreseen();
        target.run_warned(
            context,
            async |api| foresee::warnings(api, foreseen).await,
            async |api| command.ask(api).await,
        )
    }
}

impl EnrollmentCommand {
    /// The change that is worth a warning, if it is one.
    fn foreseen(&self) -> Option<Foreseen> {
        match self {
            Self::Delete(delete) => {
                Some(Foreseen::DeleteEnrollment(delete.id.enrollment_id.clone()))
            }
            Self::Update(change) if change.shared.disables() => {
                Some(Foreseen::DisableEnrollment(change.id.enrollment_id.clone()))
            }
            _ => None,
        }
    }

    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let one = |json| Some(Answer::new(json, Sheet::Enrollments));
        Ok(match self {
            Self::Create(create) => one(create.ask(api).await?),
            Self::Update(change) => one(change.ask(api).await?),
            Self::List(list) => {
                one(api.list(&path([ENROLLMENTS, "query"]), Some(&everything()), list.top).await?)
            }
            Self::Show(show) => {
                let path = path([ENROLLMENTS, &show.id.enrollment_id]);
                one(show_one(api, &path, show.keys.show_keys).await?)
            }
            Self::Delete(delete) => {
                let path = path([ENROLLMENTS, &delete.id.enrollment_id]);
                api.delete(&path, Some(&delete.etag.etag)).await?;
                None
            }
            Self::Registration(registration) => registration.ask(api).await?,
        })
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let id = &self.id.enrollment_id;
        let attestation = attestation::new_individual(
            &self.attestation_type,
            &self.credentials,
            &self.individual.tpm,
        )?;
        let mut document = Json::empty_object();
        document.set("registrationId", Json::from(id.as_str()));
        self.individual.write(&mut document)?;
        document.set("attestation", attestation);
        self.shared.write_new(&mut document)?;
        match self.endorsement.document()? {
            None => api.put(&path([ENROLLMENTS, id]), None, &document).await,
            Some(_) if !self.attestation_type.eq_ignore_ascii_case("tpm") => {
                Err(Complaint::misuse("A certificate of its vendor is demanded of a TPM only.")
                    .with_remedy("--ek-root goes with --attestation-type tpm."))
            }
            Some(demand) => create_demanding(api, id, document, &demand).await,
        }
    }
}

/// Enrolls a TPM and demands its certificate. Two requests, so the enrollment is disabled until the
/// second is done: nobody registers without what is demanded.
async fn create_demanding(
    api: &Api,
    id: &str,
    mut document: Json,
    demand: &Json,
) -> Result<Json, Complaint> {
    let etag = |answer: &Json| {
        let etag = answer.get("etag").and_then(Json::as_str).map(str::to_owned);
        etag.ok_or_else(|| Complaint::new("The service's answer has no etag."))
    };
    let path = path([ENROLLMENTS, id]);
    let status = document.get("provisioningStatus").cloned();
    document.set("provisioningStatus", Json::from("disabled"));
    let created = etag(&api.put(&path, None, &document).await?)?;
    let demanded = match api.put(&endorsement::path(id), Some(&created), demand).await {
        Ok(demanded) => etag(&demanded)?,
        Err(complaint) => {
            if api.delete(&path, Some(&created)).await.is_err() {
                api.note(format!("WARNING: The enrollment `{id}` was made, and is disabled."));
            }
            return Err(complaint);
        }
    };
    match status {
        Some(status) => document.set("provisioningStatus", status),
        None => drop(document.remove("provisioningStatus")),
    }
    api.put(&path, Some(&demanded), &document).await
}

impl Change {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = path([ENROLLMENTS, &self.id.enrollment_id]);
        let update = Update {
            credentials: &self.credentials,
            removals: &self.removals,
            tpm: &self.individual.tpm,
            names: &AuthorityNames::default(),
        };
        let mut document = read_for_update(api, &path, &update, "clientCertificates").await?;
        document.remove("registrationState");
        self.individual.write(&mut document)?;
        self.shared.write_changes(&mut document)?;
        api.put(&path, Some(&self.etag.etag), &document).await
    }
}

impl IndividualFields {
    fn write(&self, document: &mut Json) -> Result<(), Complaint> {
        if let Some(device_id) = &self.device_id {
            if device_id.is_empty() {
                document.remove("deviceId");
            } else {
                document.set("deviceId", Json::from(device_id.as_str()));
            }
        }
        if let Some(given) = &self.device_information {
            let information = object("--device-information", given)?;
            document
                .set("optionalDeviceInformation", information.unwrap_or_else(Json::empty_object));
        }
        Ok(())
    }
}

/// Reads an enrollment of either kind with all that an update must send back (its keys too), and
/// writes the new credentials into it. The rest is as the service sent it.
pub(super) async fn read_for_update(
    api: &Api,
    path: &str,
    update: &Update<'_>,
    certificates: &str,
) -> Result<Json, Complaint> {
    let mut document = api.get(path).await?;
    let kind = attestation_type(&document).to_owned();
    update.check(&kind)?;
    let mut attestation = if is_symmetric(&kind) {
        api.post(&format!("{path}/attestationmechanism"), None).await?
    } else {
        document.get("attestation").cloned().unwrap_or_else(Json::empty_object)
    };
    update.write(&mut attestation, certificates)?;
    document.set("attestation", attestation);
    Ok(document)
}

/// Reads an enrollment of either kind; its keys only when they are asked for.
pub(super) async fn show_one(api: &Api, path: &str, keys: bool) -> Result<Json, Complaint> {
    let mut document = api.get(path).await?;
    if keys && is_symmetric(attestation_type(&document)) {
        let attestation = api.post(&format!("{path}/attestationmechanism"), None).await?;
        document.set("attestation", attestation);
    }
    Ok(document)
}

/// The query that every list sends; the service looks at the path, not at the text (O §1.9).
pub(super) fn everything() -> Json {
    Json::Object(vec![("query".to_owned(), Json::from("SELECT *"))])
}

/// The type of an enrollment's attestation, or nothing.
pub(super) fn attestation_type(document: &Json) -> &str {
    let attestation = document.get("attestation").and_then(|attestation| attestation.get("type"));
    attestation.and_then(Json::as_str).unwrap_or_default()
}

/// Whether a type of attestation is by symmetric key.
pub(super) fn is_symmetric(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("symmetricKey")
}
