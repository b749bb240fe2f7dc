//! `induct demo`: the main job, end to end, told while it happens.
//!
//! Nothing is staged. The server is the one `induct serve` starts, devices register over TLS with
//! certificates of their own, the operator uses the API, and every sentence about what happened
//! was checked against an answer before it was printed. The devices are those of [`simulate`].
//!
//! [`simulate`]: crate::simulate

mod connections;
mod events;
mod factory;
mod scenes;
mod stage;
mod story;

use crate::{cli::Failure, serve::Signals};

use self::{connections::Connections, stage::Stage};
pub use story::Teller;

/// How large the demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// How many devices register, at least two.
    pub n_devices: usize,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
}

/// Plays the demo; then stays up until a signal, unless `exit`. The temporary folder is gone at
/// the end, however it ends.
///
/// # Errors
/// The first expectation that an answer did not meet, or what kept the demo from going on.
pub async fn play(scale: Scale, exit: bool, teller: &mut Teller<'_>) -> Result<(), Failure> {
    if scale.n_devices < 2 {
        return Err(Failure::new("The demo needs two devices: one to shut out, one to stay."));
    }
    let mut signals = Signals::install()?;
    let stage = Stage::build(scale).await?;
    let played = tokio::select! {
        played = perform(&stage, exit, teller) => played,
        signal = signals.next() => Err(Failure::new(format!("The demo was stopped by {signal}."))),
    };
    let outcome = match played {
        Ok(connections) if !exit => {
            signals.next().await;
            drop(connections);
            teller.line("")
        }
        other => other.map(drop),
    };
    let cleared = stage.clear().await;
    outcome.and(cleared)
}

/// Tells the story. The devices stay connected for as long as the answer lives.
async fn perform(
    stage: &Stage,
    exit: bool,
    teller: &mut Teller<'_>,
) -> Result<Connections, Failure> {
    scenes::server(stage, teller)?;
    scenes::factory(stage, teller)?;
    scenes::enroll(stage, teller).await?;
    let assignments = scenes::register_all(stage, teller).await?;
    let mut connections = Connections::new();
    scenes::connect_all(stage, &assignments, &mut connections, teller).await?;
    scenes::shut_out(stage, &assignments, &mut connections, teller).await?;
    scenes::refused(stage, &assignments, &mut connections, teller).await?;
    scenes::let_back_in(stage, &assignments, &mut connections, teller).await?;
    scenes::summary(stage, &assignments, exit, teller)?;
    Ok(connections)
}
