//! What is warned of before a change is made. Nobody is kept from it: where the server cannot tell,
//! or not in time, nothing is said.

use std::time::Duration;

use model::Json;

use super::{Extent, ask, change, words};
use crate::cli::api::Api;

/// How long the server may look at devices, in seconds.
const SECS: u64 = 3;
/// How long anybody waits for it, whatever holds it up.
const PATIENCE: Duration = Duration::from_secs(6);

/// A change that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Foreseen {
    /// The individual enrollment is deleted.
    DeleteEnrollment(String),
    /// It is disabled.
    DisableEnrollment(String),
    /// The group is deleted.
    DeleteGroup(String),
    /// It is disabled.
    DisableGroup(String),
    /// The CA certificate is deleted.
    DeleteCertificate(String),
}

impl Foreseen {
    fn document(&self) -> Json {
        let (verb, of, id) = match self {
            Self::DeleteEnrollment(id) => ("delete", "enrollment", id),
            Self::DisableEnrollment(id) => ("disable", "enrollment", id),
            Self::DeleteGroup(id) => ("delete", "enrollmentGroup", id),
            Self::DisableGroup(id) => ("disable", "enrollmentGroup", id),
            Self::DeleteCertificate(name) => ("delete", "certificate", name),
        };
        change(verb, of, Json::from(id.as_str()))
    }
}

/// The warnings before a change.
pub(in crate::cli) async fn warnings(api: &Api, change: Option<Foreseen>) -> Vec<String> {
    let Some(change) = change else { return Vec::new() };
    let extent = Extent { max_devices: 100_000, max_seconds: SECS, show: 0 };
    let told = tokio::time::timeout(PATIENCE, ask(api, change.document(), extent)).await;
    let Ok(Ok(told)) = told else { return Vec::new() };
    let is_certificate = matches!(change, Foreseen::DeleteCertificate(_));
    words::warnings(&told, is_certificate)
}
