//! `induct backup`

use std::{path::PathBuf, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use store_sqlite::backup_file;

use super::{Context, Failure, Place};
use crate::data_folder::DataFolder;

/// Copy the database into a file, also while a server uses it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct backup /backups/induct-monday.db
  induct backup --data /var/lib/induct /backups/induct-monday.db

The copy holds everything that was committed when it began; its secrets are sealed and can be read
with the master key only, which it does not hold. Keep a copy of the master key elsewhere: with
both anybody has every secret, without the key nobody has. It does not hold Induct's own CA either;
copy the data folder's `tls` once, after the first start.

To restore: stop the server, put the copy in the place of `induct.db` in the data folder, remove
`induct.db-wal` and `induct.db-shm` beside it, see that the master key of that time is in its
place, and start the server.")]
pub struct Backup {
    #[command(flatten)]
    place: Place,
    /// The file to make. It must not exist yet.
    #[arg(value_name = "TO")]
    to: PathBuf,
}

impl Backup {
    /// Copies.
    ///
    /// # Errors
    /// There is no database, or the copy cannot be written.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let config = context.load_config(&self.place)?;
        let from = DataFolder::new(config.data_folder).database();
        let bar = progress_bar(context.draws_progress());
        backup_file(&from, &self.to, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        let size_bytes = std::fs::metadata(&self.to)?.len();
        let (from, to) = (from.display().to_string(), self.to.display().to_string());
        let answer = json!({ "from": from, "to": to, "sizeBytes": size_bytes });
        Ok(context.printer().print(&answer)?)
    }
}

fn progress_bar(visible: bool) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
