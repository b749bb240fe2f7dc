//! `induct demo`

use std::io::{self, IsTerminal};

use clap::Args;

use super::{Context, Failure};
use crate::demo::{Scale, Teller, play};

/// Watch devices being provisioned, one of them shut out, and play with the running service.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct demo                     Tell the story, then stay up until Ctrl-C.
  induct demo --exit              Tell the story and end; the exit code says whether all was well.
  induct demo --devices 200 --port 8443

Everything happens in a temporary folder, which is removed at the end.")]
pub struct Demo {
    /// End after the story instead of staying up.
    #[arg(long)]
    exit: bool,
    /// How many devices register.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(2..=1000))]
    devices: u16,
    /// The port to listen on; 0 lets the system choose.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

impl Demo {
    /// Plays it.
    ///
    /// # Errors
    /// The first thing that was not as it should be.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let scale = Scale { n_devices: usize::from(self.devices), port: self.port };
        let colours = io::stdout().is_terminal() && context.environment.find("NO_COLOR").is_none();
        let draws_progress = context.draws_progress();
        let mut teller = Teller::new(context.out, colours, draws_progress);
        runtime.block_on(play(scale, self.exit, &mut teller))
    }
}
