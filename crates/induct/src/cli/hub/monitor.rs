//! `induct hub monitor-events` (O §4.4)

mod follow;
mod show;
mod sse;

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::timeout;

use self::{
    follow::{Follower, Start},
    show::Shown,
};
use crate::{
    cli::{Context, Failure, Output, answer::pretty, api::Api, input::moment},
    serve::Signals,
};

/// Watch what devices send, as it comes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct hub monitor-events                                What comes from now on.
  induct hub monitor-events -d press-17 -p app             One device, with its own properties.
  induct hub monitor-events -e earliest -m 10 -t 5         The oldest ten that are kept.
  induct hub monitor-events -e 2026-03-01T06:00:00Z -p all
  induct hub monitor-events -o text                        A line per event.

Ctrl-C ends it. When the connection breaks it goes on from the last event it printed; none is
printed twice and none is left out, unless the hub no longer keeps it.")]
pub(super) struct MonitorEvents {
    /// Only events of this device; upper and lower case differ.
    #[arg(short = 'd', long = "device-id", value_name = "ID")]
    device_id: Option<String>,
    /// What is printed beside the payload: what the message says about itself (sys), the sender's
    /// own properties (app), what the hub says of it (anno), or all of that.
    #[arg(short, long, value_enum, value_name = "KIND", num_args = 1..)]
    properties: Vec<Kind>,
    /// What payloads are, whatever their senders say; application/json prints them as JSON.
    #[arg(long, visible_alias = "ct", value_name = "TYPE")]
    content_type: Option<String>,
    /// End after so many seconds without an event; 0 waits for ever.
    #[arg(short, long, visible_alias = "to", value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// End after so many events.
    #[arg(short, long, visible_alias = "mc", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    message_count: Option<u64>,
    /// Where to begin: `earliest`, milliseconds since 1970, or a time such as
    /// 2026-03-01T00:00:00Z [default: now].
    #[arg(short, long, visible_alias = "et", value_name = "TIME", value_parser = start)]
    enqueued_time: Option<Start>,
    /// Accepted as in the vendor's tutorials and not needed: every reader has all events.
    #[arg(long, visible_alias = "cg", value_name = "NAME")]
    consumer_group: Option<String>,
    /// Accepted as in the vendor's tutorials and not needed: nothing is asked.
    #[arg(short, long)]
    yes: bool,
}

/// What is printed beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// What the message says about itself.
    Sys,
    /// The sender's own properties.
    App,
    /// What the hub says of the message.
    Anno,
    /// All of them.
    All,
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" | "now" => Ok(Start::Latest),
        time => moment(time).map(Start::Time),
    }
}

impl MonitorEvents {
    /// Prints events until it is told to stop, or has printed as many as asked, or none came for
    /// long enough.
    ///
    /// # Errors
    /// The hub refused, or standard output is gone.
    pub(super) async fn run(self, api: &Api, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut signals = Signals::install()?;
        tokio::select! {
            ended = self.print(api, context) => ended,
            _ = signals.next() => Ok(()),
        }
    }

    async fn print(&self, api: &Api, context: &mut Context<'_>) -> Result<(), Failure> {
        let start = self.enqueued_time.clone().unwrap_or(Start::Latest);
        let mut follower = Follower::begin(api, start, self.device_id.as_deref()).await?;
        context.note(&format!("Waiting for events of {}; Ctrl-C ends.", api.login().host));
        let mut n_printed = 0;
        while self.message_count.is_none_or(|n| n_printed < n) {
            let event = match self.timeout {
                0 => follower.next().await?,
                secs => match timeout(Duration::from_secs(secs), follower.next()).await {
                    Ok(event) => event?,
                    Err(_) => {
                        context.note(&format!("No event for {secs} s."));
                        return Ok(());
                    }
                },
            };
            let shown = Shown::new(&event, self.content_type.as_deref());
            match context.global.output.unwrap_or_default() {
                Output::Json => {
                    writeln!(context.out, "{}", pretty(&shown.document(|kind| self.shows(kind))))?;
                }
                Output::Table => writeln!(context.out, "{}", shown.line())?,
            }
            // Whoever reads this reads it as it comes.
            context.out.flush()?;
            n_printed += 1;
        }
        Ok(())
    }

    fn shows(&self, kind: Kind) -> bool {
        self.properties.iter().any(|asked| [Kind::All, kind].contains(asked))
    }
}
