//! Where log lines go: to standard error, as text or JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging for this process; a second call changes nothing.
///
/// Our own lines from the configured level on; of the libraries we stand on, warnings.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if log.level == LogLevel::Error { "error" } else { "warn" };
    // Every crate of ours is called `induct` or `induct-…`.
    let filter = EnvFilter::new(format!("{others},induct={level}"));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
}
