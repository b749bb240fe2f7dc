//! `induct serve`

use std::process;

use clap::Args;
use tracing::info;

use super::{Context, Failure, Place};
use crate::{
    config::Config,
    serve::{Server, Signals, announce_addresses, announce_first_start},
};

/// Start a server and keep it running until SIGTERM or Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct serve                                          With defaults, on 127.0.0.1:8443.
  induct serve --config /etc/induct/induct.toml --data /var/lib/induct
  INDUCT_LISTEN__HTTPS=0.0.0.0:443 induct serve         Any setting can come from the environment.

The first start makes an ID scope, a CA and policies with random keys, and says where.
`induct config show` lists every setting. A second SIGTERM or Ctrl-C ends the server at once.")]
pub struct Serve {
    #[command(flatten)]
    place: Place,
}

impl Serve {
    /// Runs the server to its end.
    ///
    /// # Errors
    /// Why it did not start.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let config = context.load_config(&self.place)?;
        crate::log::start(&config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(&config, context))
    }
}

async fn serve(config: &Config, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let server = tokio::select! {
        started = Server::start(config) => started?,
        signal = signals.next() => {
            return Err(Failure::new(format!("stopped by {signal} before the server had started")));
        }
    };
    // A server whose standard output is closed serves all the same.
    let _ = announce_first_start(&server, context.out);
    let _ = announce_addresses(&server, context.out);
    let signal = signals.next().await;
    info!("stopping because of {signal}: open requests may finish");
    tokio::select! {
        () = server.stop() => Ok(()),
        signal = signals.next() => {
            info!("stopping at once because of a second signal, {signal}");
            // What was acknowledged is on the disk; nothing else is promised.
            process::exit(1);
        }
    }
}
