//! Looks at what goes on by itself until it is as wanted.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long something may take that goes on by itself; a remote hub is tried again ever later.
const PATIENCE: Duration = Duration::from_secs(150);
/// How often we look.
const LOOK: Duration = Duration::from_millis(50);

/// Looks at something until it is as wanted.
pub(crate) async fn until<T: Debug>(
    mut look: impl AsyncFnMut() -> T,
    is_wanted: impl Fn(&T) -> bool,
) -> T {
    let began = now();
    loop {
        let seen = look().await;
        if is_wanted(&seen) {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "it stayed {seen:?}");
        tokio::time::sleep(LOOK).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the server under test runs by the real clock")]
fn now() -> Instant {
    Instant::now()
}
