//! `induct serve`

use std::{error::Error, process};

use clap::Args;
use tracing::{error, info};

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
    watch(server, &mut signals).await
}

/// Keeps the server running until a signal, and stops it. A server that nobody can reach any more
/// is a failure: whoever watches the process starts it again.
async fn watch(mut server: Server, signals: &mut Signals) -> Result<(), Failure> {
    let signal = tokio::select! {
        signal = signals.next() => signal,
        ended = server.doors_ended() => {
            error!(error = &ended as &dyn Error, "{ended}");
            server.stop().await;
            return Err(ended.into());
        }
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Given, parse},
        data_folder::DataFolder,
        ports::Environment,
    };

    #[tokio::test]
    async fn a_server_that_no_longer_accepts_ends_with_a_failure_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let given = Given { config: None, data: Some(data.clone()) };
        let text = "[listen]\nhttps = ['127.0.0.1:0']\n";
        let loaded = parse(text, None, &given, &Environment::default()).expect("legal");
        let mut signals = Signals::install().expect("installed");
        let server = Server::start(&loaded.config).await.expect("started");
        assert!(data.join("run/listen.json").exists());
        server.break_doors();
        let failure = watch(server, &mut signals).await.expect_err("a failure");
        let mut told = Vec::new();
        failure.print(&mut told).expect("printed");
        let told = String::from_utf8(told).expect("text");
        assert!(told.starts_with("ERROR: the server no longer accepts connections"), "{told}");
        // The exit code of these is 1.
        assert!(matches!(failure, Failure::Failed(_)));
        assert!(!data.join("run/listen.json").exists(), "it is retracted");
        drop(DataFolder::new(data).lock().expect("nobody holds it"));
    }
}
