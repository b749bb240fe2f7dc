//! What the doors tell the log alike, and when they stop.

use std::error::Error;

use tokio::sync::watch;

/// How much of a client's text a log line holds, in characters.
const MAX_LOGGED_CHARS: usize = 256;

/// A text that may hold anything, as it may stand in a log line: at most 256 characters of it, and
/// no control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    cut_line(text, MAX_LOGGED_CHARS)
}

/// The same with another bound, in characters.
#[must_use]
pub fn cut_line(text: &str, max_chars: usize) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(max_chars).map(printable).collect()
}

/// A fault with all its causes, as whoever handles it logs it.
#[must_use]
pub fn chain_of(fault: &(dyn Error + 'static)) -> String {
    let mut chain = fault.to_string();
    let mut cause = fault.source();
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    chain
}

/// Waits until the server stops.
pub async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a shutdown as well.
    drop(shutdown.wait_for(|stop| *stop).await);
}
