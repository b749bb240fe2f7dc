//! `induct rekey`: a new master key for the secrets in the database.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use store_sqlite::{MasterKey, OpenError, RekeyError, rekey};

use super::{Context, Failure, Place};
use crate::{
    config::{Config, MasterKeySource},
    data_folder::DataFolder,
    master_key,
};

/// Seal all secrets in the database anew, under another master key. No server may run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct rekey
      Make a new master.key in the data folder; the old one stays beside it as master.key.old.
  induct rekey --new /etc/induct/master.key
      To a file of yours, which is made if it is not there. Name it in [secrets] afterwards.
  induct rekey --old /safe/master.key --new /etc/induct/master.key

Stop the server first, and make a backup. A crash on the way leaves the database under the old key
or under the new one, never under both or none; run the same command again.

Backups made before need the old master key for as long as you keep them.")]
pub struct Rekey {
    #[command(flatten)]
    place: Place,
    /// The file of the present master key [default: what the configuration says].
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// The file of the new master key; one with a random key is made if it is not there
    /// [default: master.key in the data folder, where the present one is there].
    #[arg(long, value_name = "FILE")]
    new: Option<PathBuf>,
}

/// Where the new key is until it counts.
struct Plan {
    file: PathBuf,
    /// It takes the place of the data folder's own key.
    replaces_own: bool,
}

impl Rekey {
    /// Seals anew.
    ///
    /// # Errors
    /// A server runs, a key is missing or wrong, or the database failed. Nothing has changed then.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let config = context.load_config(&self.place)?;
        let data = DataFolder::new(&config.data_folder);
        let database = data.database();
        if !database.exists() {
            return Err(OpenError::Missing { path: database }.into());
        }
        let _lock = data.lock()?;
        let plan = self.plan(&config, &data)?;
        let old = match &self.old {
            Some(path) => master_key::from_file(path)?,
            None => master_key::find(&config, &data)?,
        };
        let new = read_or_make(&plan.file)?;
        if old == new {
            return Err(Failure::Usage(format!(
                "{} holds the present master key; name a file with another one, or one that is \
                 not there yet.",
                plan.file.display()
            )));
        }
        let n_rows = seal(context, &database, &old, &new)?;
        if plan.replaces_own {
            let own = data.master_key();
            keep_old(&own)?;
            fs::rename(&plan.file, &own)?;
            context.note(&format!(
                "Copy the new master key {} now, and keep the copy apart from backups of the \
                 database. {} opens backups made before; remove it when there are none left.",
                own.display(),
                old_name(&own).display()
            ));
        } else {
            context.note(&format!(
                "From now on the database opens with {} only; say so in [secrets] before you \
                 start the server. Backups made before need the old master key.",
                plan.file.display()
            ));
        }
        let answer = json!({ "database": database.display().to_string(), "sealedRows": n_rows });
        Ok(context.printer().print(&answer)?)
    }

    fn plan(&self, config: &Config, data: &DataFolder) -> Result<Plan, Failure> {
        if let Some(file) = &self.new {
            return Ok(Plan { file: file.clone(), replaces_own: false });
        }
        if config.master_key != MasterKeySource::DataFolder || self.old.is_some() {
            return Err(Failure::Usage(
                "Where the new master key goes is not known: name a file with --new.".to_owned(),
            ));
        }
        let own = data.master_key();
        let old = old_name(&own);
        // Another old key, which older backups need, must not be lost. One that is the present
        // key was left by a crash between two steps.
        if old.exists() && master_key::from_file(&old)? != master_key::from_file(&own)? {
            return Err(Failure::new(format!(
                "{} is there from an earlier `induct rekey`. Move it to where you keep the keys \
                 of old backups, or remove it if there are none left.",
                old.display()
            )));
        }
        Ok(Plan { file: with_ending(&own, ".new"), replaces_own: true })
    }
}

/// Gives the database its new key, unless an earlier run that was cut off did so already.
fn seal(
    context: &Context<'_>,
    database: &Path,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<u64, Failure> {
    let bar = progress_bar(context.draws_progress());
    let sealed = rekey(database, old, new, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    match sealed {
        Err(RekeyError::Open(OpenError::WrongMasterKey { path })) => {
            match store_sqlite::SqliteStore::open_read_only(database, new) {
                Ok(_) => Ok(0),
                Err(_) => Err(OpenError::WrongMasterKey { path }.into()),
            }
        }
        other => Ok(other?),
    }
}

fn read_or_make(path: &Path) -> Result<MasterKey, Failure> {
    match path.exists() {
        true => Ok(master_key::from_file(path)?),
        false => Ok(master_key::make_file(path)?),
    }
}

/// Keeps a copy of the key for old backups, before it is replaced.
fn keep_old(own: &Path) -> Result<(), Failure> {
    let key = master_key::from_file(own)?;
    Ok(master_key::write_key(&old_name(own), &key)?)
}

fn old_name(own: &Path) -> PathBuf {
    with_ending(own, ".old")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn progress_bar(visible: bool) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} secrets, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
