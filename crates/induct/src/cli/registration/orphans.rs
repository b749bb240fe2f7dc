//! `induct registration orphans …`: registration records whose enrollment no longer exists; and
//! groups that are deleted with their records.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, Top, own_path, with_options},
    complaint::Complaint,
    document::members,
};

/// What is said after records went.
const IDENTITIES_STAY: &str =
    "The devices' identities stay on their hubs; `induct deprovision` removes those too.";

/// Registration records whose enrollment no longer exists. They count toward the limit.
#[derive(Debug, Subcommand)]
pub(super) enum Orphans {
    /// List them, with the group they rested on.
    #[command(after_help = "Examples:
  induct registration orphans list -o table
  induct registration orphans list --gid line-4 --top 20")]
    List(List),
    /// Count them.
    #[command(after_help = "Examples:
  induct registration orphans count
  induct registration orphans count --older-than 30d")]
    Count(Count),
    /// Delete them. The devices' identities stay on their hubs.
    #[command(after_help = "Examples:
  induct registration orphans delete --dry-run                 How many would go.
  induct registration orphans delete
  induct registration orphans delete --gid line-4 --older-than 30d

They go in batches, each with a line in the audit log. What broke off is finished by running it
again. `[registrations] orphan_expiry_hours` in induct.toml deletes old ones by itself.")]
    Delete(Delete),
}

/// Which orphans.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only those that rested on this group.
    #[arg(long = "group-id", visible_alias = "gid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    group_id: Option<String>,
    /// Only those whose device did not register for so long: seconds, or a number with s, m, h or
    /// d behind it.
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    older_than: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
pub(super) struct Count {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    which: Which,
    /// Say how many would go, and delete none.
    #[arg(long)]
    dry_run: bool,
}

/// Whether a group's records go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(in crate::cli) struct WithRecords {
    /// Delete the registration records of its devices too. What broke off is finished by running
    /// it again.
    #[arg(long)]
    with_records: bool,
    /// Say what would go, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Orphans {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        match self {
            Self::List(List { which, top }) => {
                let path = which.path(&own_path(["orphans"]), &[]);
                let orphans = api.list_with(&path, &[], top).await?;
                Ok(Some(Answer::new(orphans, Sheet::Orphans)))
            }
            Self::Count(Count { which }) => {
                let counted = api.get(&which.path(&own_path(["orphans", "count"]), &[])).await?;
                Ok(Some(Answer::new(counted, Sheet::Plain)))
            }
            Self::Delete(delete) => delete.ask(api).await.map(Some),
        }
    }
}

impl Which {
    fn path(&self, path: &str, more: &[(&str, Option<&str>)]) -> String {
        let older_than = self.older_than.map(|secs| secs.to_string());
        let which = [("group", self.group_id.as_deref()), ("olderThan", older_than.as_deref())];
        with_options(path, &[&which, more].concat())
    }
}

impl Delete {
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let path = own_path(["orphans"]);
        let would = api.clear(&self.which.path(&path, &[("dryRun", Some("true"))])).await?;
        if self.dry_run {
            return Ok(Answer::new(would, Sheet::Plain));
        }
        let mut clearing = Clearing::new(api, records(&would));
        clearing.go_on(&self.which.path(&path, &[]), None).await?;
        if clearing.n_records > 0 {
            api.note(IDENTITIES_STAY);
        }
        Ok(Answer::new(members([("records", clearing.n_records.into())]), Sheet::Plain))
    }
}

impl WithRecords {
    /// Whether anything but the group itself is asked about.
    pub(in crate::cli) const fn is_plain(self) -> bool {
        !self.with_records && !self.dry_run
    }

    /// Deletes a group of Induct's own API at this path, as it is asked for.
    ///
    /// # Errors
    /// What the server answered. The group may be gone by then and some of its records left.
    pub(in crate::cli) async fn delete(
        self,
        api: &Api,
        path: &str,
        id: &str,
        etag: &str,
    ) -> Result<Answer, Complaint> {
        let with_records = ("withRecords", self.with_records.then_some("true"));
        let dry = with_options(path, &[with_records, ("dryRun", Some("true"))]);
        let (would, _) = api.delete_batch(&dry, Some(etag), None).await?;
        if self.dry_run {
            return Ok(Answer::new(would, Sheet::Plain));
        }
        let mut clearing = Clearing::new(api, records(&would));
        // The group first; what is left then are orphans, and a group that is made anew meanwhile
        // stays and has what is left.
        let path = with_options(path, &[with_records]);
        let (gone, next) = api.delete_batch(&path, Some(etag), None).await?;
        clearing.count(&gone);
        if let Some(next) = next {
            let path = with_options(&own_path(["orphans"]), &[("group", Some(id))]);
            let rest = clearing.go_on(&path, Some(next)).await;
            rest.map_err(|complaint| {
                complaint.with_remedy("The group is gone. Run it again to delete what is left.")
            })?;
        }
        if clearing.n_records > 0 {
            api.note(IDENTITIES_STAY);
        }
        let told =
            members([("enrollmentGroupId", id.into()), ("records", clearing.n_records.into())]);
        Ok(Answer::new(told, Sheet::Plain))
    }
}

/// Records that go, batch by batch.
struct Clearing<'a> {
    api: &'a Api,
    bar: indicatif::ProgressBar,
    n_records: u64,
}

impl<'a> Clearing<'a> {
    fn new(api: &'a Api, n_expected: u64) -> Self {
        Self { api, bar: api.progress_of(n_expected), n_records: 0 }
    }

    fn count(&mut self, batch: &Json) {
        self.n_records += records(batch);
        self.bar.set_position(self.n_records);
    }

    /// Asks for batch after batch until the server says that it is done.
    async fn go_on(&mut self, path: &str, mut next: Option<String>) -> Result<(), Complaint> {
        loop {
            let (batch, after) = self.api.delete_batch(path, None, next.as_deref()).await?;
            self.count(&batch);
            match after {
                None => {
                    self.bar.finish_and_clear();
                    return Ok(());
                }
                Some(after) if next.as_deref() == Some(after.as_str()) => {
                    return Err(Complaint::new("The server's batches do not end.")
                        .with_remedy("That is a fault of the server: update it, or report it."));
                }
                Some(after) => next = Some(after),
            }
        }
    }
}

fn records(answer: &Json) -> u64 {
    match answer.get("records") {
        Some(Json::Number(digits)) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// Seconds, or a number with a unit.
pub(in crate::cli) fn seconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        None => (text, 1),
        Some(digits) => (
            digits,
            match text.as_bytes().last() {
                Some(b'm') => 60,
                Some(b'h') => 3_600,
                Some(b'd') => 86_400,
                _ => 1,
            },
        ),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|secs| i64::try_from(*secs).is_ok())
        .ok_or_else(|| "expected seconds, or a number with s, m, h or d behind it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_seconds_or_has_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        };
        check("90", Some(90));
        check("90s", Some(90));
        check("15m", Some(900));
        check("12h", Some(43_200));
        check("30d", Some(2_592_000));
        for bad in ["", "d", "-1", "1.5h", "1w", "99999999999999999999", "999999999999999999d"] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_wanted_is_in_the_path() {
        let which = Which { group_id: Some("a b".to_owned()), older_than: Some(60) };
        let path = which.path("/induct/v1/orphans", &[("dryRun", Some("true"))]);
        assert_eq!(path, "/induct/v1/orphans?group=a%20b&olderThan=60&dryRun=true");
        let all = Which { group_id: None, older_than: None };
        assert_eq!(all.path("/induct/v1/orphans", &[]), "/induct/v1/orphans");
    }
}
