//! The use cases over the embedded store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod ban_races;
mod bans;
mod crls;
mod device;
mod events;
mod explain;
mod gated;
mod instance;
mod live_cut_off;
mod live_histories;
mod live_modules;
mod live_renewal;
mod live_takeover;
mod manage;
mod messages;
mod methods;
mod modules;
mod orphans;
mod races;
mod rewritten;
mod simulate;
mod stage;
mod storms;
mod tpm;
