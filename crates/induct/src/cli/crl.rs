//! `induct crl …`: revocation lists of CAs, from files and from URLs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use attest::certificate as x509;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::{
    Json,
    crl::{MAX_CRL_EVERY_SECS, MIN_CRL_EVERY_SECS, crl_id, parse_crl_id},
};
use wire::pem;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path},
    complaint::Complaint,
    document::members,
    enrollment::Etag,
    input,
    target::ServiceTarget,
};

/// The path of revocation lists.
const CRLS: &str = "crls";

/// How long to wait for a list of the largest size to be taken in, or fetched.
const PATIENCE: Duration = Duration::from_secs(300);

/// Keep devices out whose certificates their CA has revoked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct crl import plant-ca.crl                     The list says itself which CA it is of.
  induct crl follow plant-ca https://crl.example/plant.crl --every 6h
  induct crl follow plant-ca.pem https://crl.example/plant.crl
  induct crl list -o table
  induct crl show plant-ca
  induct enrollment-group settings set --gid line-4 --stale-crl refuse

A CA is named by its certificate's file, by the name it has in `induct certificate list`, or by the
id that `induct crl list` shows. It must be enrolled: as a group's certificate, or with `induct
certificate create` (which need not be verified for this).

A device that rests on a revoked certificate is refused from the moment the list is taken in, by
whatever group or enrollment would admit it. Its live sessions end where disabling its enrollment
would end them (`induct update --disenroll-ends-sessions`). An older list than the one that counts
is refused, whoever brings it.

A list that is past its end is out of date (STALE): `induct crl list` shows it, the server's log
says it once a day, and each group chooses whether its devices are admitted meanwhile (the default)
or refused.")]
pub struct Crl {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: CrlCommand,
}

/// What to do with revocation lists.
#[derive(Debug, Subcommand)]
enum CrlCommand {
    /// Take a list in from a file, PEM or DER. The same list again changes nothing.
    #[command(after_help = "Example:
  induct crl import plant-ca.crl")]
    Import(Import),
    /// Fetch a CA's list from a URL now and every so often from now on.
    #[command(after_help = "Examples:
  induct crl follow plant-ca https://crl.example/plant.crl
  induct crl follow plant-ca https://crl.example/plant.crl --every 30m --etag '*'

What fails is tried again ever later, and leaves the list that counts. The server asks by https:;
many CAs offer their lists by http: only, which `crls.allow_http` in its configuration allows: a
list is signed, whoever carries it. Addresses that are not public, as a plant's own CA may have, are
asked where `crls.allow_private_addresses` allows it.")]
    Follow(Follow),
    /// Fetch a CA's list no more. The list that counts stays.
    Unfollow(Existing),
    /// Ask a followed URL now.
    Fetch(Ca),
    /// List the revocation lists, and which of them are out of date.
    List,
    /// Show a CA's list: its number, its times, and what came of the last fetch.
    Show(Ca),
    /// Delete a CA's list: whom it revoked is admitted again.
    Delete(Existing),
}

#[derive(Debug, Args)]
struct Import {
    /// The list's file, PEM or DER.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Ca {
    /// The CA: its certificate's file, its name in the service, or the list's id.
    #[arg(value_name = "CA", value_parser = NonEmptyStringValueParser::new())]
    ca: String,
}

#[derive(Debug, Args)]
struct Existing {
    #[command(flatten)]
    ca: Ca,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Follow {
    #[command(flatten)]
    ca: Ca,
    /// Where newer lists are.
    #[arg(value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    url: String,
    /// How often to ask: a number with s, m, h or d [default: 6h].
    #[arg(long, value_name = "TIME", value_parser = every)]
    every: Option<u32>,
    /// The etag of the list whose URL is to be replaced, or * for any.
    #[arg(long, short = 'e', value_name = "ETAG")]
    etag: Option<String>,
}

impl Crl {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        let as_table = context.is_table();
        target.run(context, async |api| command.ask(api, as_table).await)
    }
}

impl CrlCommand {
    async fn ask(self, api: &Api, as_table: bool) -> Result<Option<Answer>, Complaint> {
        let json = match self {
            Self::Import(import) => import.ask(api).await?,
            Self::Follow(follow) => follow.ask(api).await?,
            Self::Fetch(ca) => fetch(api, &ca.key()?).await?,
            Self::Unfollow(existing) => {
                let path = own_path([CRLS, &existing.ca.key()?, "source"]);
                api.delete(&path, Some(&existing.etag.etag)).await?;
                return Ok(None);
            }
            Self::Delete(existing) => {
                let path = own_path([CRLS, &existing.ca.key()?]);
                api.delete(&path, Some(&existing.etag.etag)).await?;
                return Ok(None);
            }
            Self::List => {
                let lists = api.get(&own_path([CRLS])).await?;
                if !as_table {
                    warn_of_stale(api, &lists);
                }
                lists
            }
            Self::Show(ca) => api.get(&own_path([CRLS, &ca.key()?])).await?,
        };
        Ok(Some(Answer::new(json, Sheet::Crls)))
    }
}

impl Ca {
    /// What the service knows the CA by.
    fn key(&self) -> Result<String, Complaint> {
        let path = Path::new(&self.ca);
        if parse_crl_id(&self.ca).is_some() || !path.is_file() {
            return Ok(self.ca.clone());
        }
        let text = input::certificate("CA", path)?;
        let no = |why: String| {
            Complaint::new(format!("CA: {}: {why}.", path.display())).with_remedy(
                "Name the CA by its certificate's file, PEM or DER, by its name in `induct \
                 certificate list`, or by the id that `induct crl list` shows.",
            )
        };
        let der = pem::certificate(text.as_str().unwrap_or_default())
            .map_err(|why| no(why.to_string()))?;
        let known = x509::describe(&der).map_err(|why| no(why.to_string()))?;
        Ok(crl_id(&known.keys.subject_and_key))
    }
}

impl Import {
    async fn ask(&self, api: &Api) -> Result<Json, Complaint> {
        let path = self.file.display();
        let no = |why: String| {
            Complaint::new(format!("Cannot read {path}: {why}."))
                .with_remedy("Name the list's file, which the user who runs this may read.")
        };
        let size = fs::metadata(&self.file).map_err(|error| no(error.to_string()))?.len();
        if size > pem::MAX_CRL_TEXT_BYTES as u64 {
            let most = pem::MAX_CRL_TEXT_BYTES;
            let no = no(format!("it has {size} bytes, at most {most} are read"));
            return Err(no.with_remedy(
                "No larger list is taken in. `induct ban add --serial-number` keeps a single \
                 certificate out.",
            ));
        }
        let file = fs::read(&self.file).map_err(|error| no(error.to_string()))?;
        // Whatever is in the wrong file, a private key above all, stays here.
        let der = pem::revocation_list(&file).map_err(|why| {
            Complaint::new(format!("{path} holds no revocation list: {why}."))
                .with_remedy("Pass the list (CRL) as the CA publishes it, PEM or DER.")
        })?;
        let taken = api.put_file(PATIENCE, &own_path([CRLS]), "application/pkix-crl", der).await?;
        note_if_stale(api, &taken);
        Ok(taken)
    }
}

impl Follow {
    /// Follows, and asks at once, so that a wrong URL shows now.
    async fn ask(&self, api: &Api) -> Result<Json, Complaint> {
        let key = self.ca.key()?;
        let mut draft = members([("url", Json::from(self.url.as_str()))]);
        if let Some(secs) = self.every {
            draft.set("everySecs", Json::from(u64::from(secs)));
        }
        let path = own_path([CRLS, &key, "source"]);
        api.put(&path, self.etag.as_deref(), &draft).await?;
        fetch(api, &key).await
    }
}

async fn fetch(api: &Api, ca: &str) -> Result<Json, Complaint> {
    let path = own_path([CRLS, ca, "fetch"]);
    let fetched = api.post_within(PATIENCE, &path, &Json::empty_object()).await?;
    let error = fetched.get("source").and_then(|source| source.get("lastError"));
    if let Some(error) = error.and_then(Json::as_str) {
        api.note(format!("WARNING: The list could not be fetched: {error}. It is tried again."));
    } else {
        note_if_stale(api, &fetched);
    }
    Ok(fetched)
}

fn is_stale(list: &Json) -> bool {
    list.get("isStale") == Some(&Json::Bool(true))
}

fn note_if_stale(api: &Api, list: &Json) {
    if is_stale(list) {
        api.note("WARNING: This list is out of date (STALE): its CA should have made a newer one.");
    }
}

fn warn_of_stale(api: &Api, lists: &Json) {
    let Json::Array(lists) = lists else { return };
    let stale: Vec<&str> = lists
        .iter()
        .filter(|list| is_stale(list))
        .filter_map(|list| list.get("ca").and_then(Json::as_str))
        .collect();
    if !stale.is_empty() {
        api.note(format!("WARNING: Out of date (STALE): {}.", stale.join("; ")));
    }
}

/// A time such as `6h`, in seconds.
fn every(text: &str) -> Result<u32, String> {
    let legal = || {
        format!(
            "write a number with s, m, h or d, such as 6h: {MIN_CRL_EVERY_SECS}s to {}d",
            MAX_CRL_EVERY_SECS / 86_400
        )
    };
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(legal()),
    };
    let number: u32 = digits.parse().map_err(|_| legal())?;
    let secs = number.checked_mul(unit).ok_or_else(legal)?;
    match (MIN_CRL_EVERY_SECS..=MAX_CRL_EVERY_SECS).contains(&secs) {
        true => Ok(secs),
        false => Err(legal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_a_number_with_a_unit() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(every(text).ok(), expected, "{text}");
        };
        check("6h", Some(6 * 3600));
        check("90", Some(90));
        check("60s", Some(60));
        check("30m", Some(1800));
        check("30d", Some(30 * 86_400));
        check("31d", None);
        check("59s", None);
        check("99999999999d", None);
        check("", None);
        check("h", None);
        check("6 h", None);
        check("6w", None);
        check("6é", None);
        check("-6h", None);
    }

    #[test]
    fn a_ca_is_named_by_its_certificates_file_or_by_what_the_service_calls_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plant.pem");
        let ca = testkit::Ca::root("plant");
        fs::write(&path, ca.pem()).expect("written");
        let key = |ca: &str| Ca { ca: ca.to_owned() }.key();
        let known = x509::describe(ca.der()).expect("a certificate");
        let id = crl_id(&known.keys.subject_and_key);
        assert_eq!(key(path.to_str().expect("text")).expect("a CA"), id);
        assert_eq!(key("plant-ca").expect("a name"), "plant-ca");
        assert_eq!(key(&id).expect("an id"), id);
        fs::write(&path, "no certificate").expect("written");
        assert!(key(path.to_str().expect("text")).is_err());
    }
}
