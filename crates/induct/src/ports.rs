//! The outside world: the clock, the dice and the environment. Nothing else in Induct touches
//! them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use app::ports::{Clock, Entropy, Stopwatch};
use async_trait::async_trait;
use model::Timestamp;
use tokio::time::Instant;

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// The present moment; 1970 on a clock that is set before it.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock port: everything else gets the time from here"
    )]
    fn now(&self) -> Timestamp {
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let ticks = since.as_nanos() / 100;
        Timestamp::from_ticks(i64::try_from(ticks).unwrap_or(i64::MAX))
    }
}

/// The cryptographic library's random numbers, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::expect_used,
        reason = "the library's generator answers or ends the process itself; going on with keys \
                  of zeros would be worse than stopping"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the system has random numbers");
    }
}

/// The stopwatch of the runtime: a test that pauses the runtime's time holds it. It runs from when
/// it is made.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeStopwatch(Instant);

impl Default for RuntimeStopwatch {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Stopwatch for RuntimeStopwatch {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// What the process was started with, apart from its arguments.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The environment variables whose names and values are UTF-8.
    pub variables: BTreeMap<String, String>,
    /// The working directory.
    pub working_folder: PathBuf,
}

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, working_folder: std::env::current_dir().unwrap_or_default() }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_in_ticks_of_this_century() {
        let now = SystemClock.now();
        assert!((1_735_689_600..4_102_444_800).contains(&now.unix_secs()), "{now:?}");
    }

    #[test]
    fn two_fills_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        SystemEntropy.fill(&mut a);
        SystemEntropy.fill(&mut b);
        assert_ne!(a, b);
    }
}
