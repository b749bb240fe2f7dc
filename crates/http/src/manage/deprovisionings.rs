//! Deprovisionings: plans, applying them, receipts.
//!
//! Making a plan of many devices, or applying it, takes longer than a request should. It goes on by
//! itself then, and the answer says 202: whoever asks again later hears how far it is.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use app::No;
use app::deprovision::selected_certificate;
use http::StatusCode;
use model::{Caller, DeprovisionState, Json, OperatorRefusal, Receipt, ReceiptId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tracing::warn;
use wire::continuation::{self, Collection};
use wire::manage as api;

use super::{Outcome, asked, bad};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::operator::{after, page};

/// How many plans are made and applied within a request, at a time. Applying goes on without a
/// request too, and so has a place for no longer than somebody waits for it.
pub(crate) const MAX_AT_ONCE: usize = 4;

/// The longest that an answer may be waited for, by who asks for it.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long an answer is waited for, unless it is said.
const DEFAULT_WAIT_SECS: u64 = 5;

/// When to ask again for what is not done yet, in seconds.
const ASK_AGAIN_SECS: u32 = 1;

/// How much of a receipt's name a refusal repeats, in characters.
const MAX_NAME_CHARS: usize = 64;

const ITEM: &str = "Deprovisioning";
const DEVICE: &str = "DeprovisionedDevice";

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let (after, size) = (after(call, Collection::Deprovisionings)?, call.page_size()?);
    let found = call.app.list_deprovisionings(after.as_deref(), size).await?;
    Ok(page(&found, Collection::Deprovisionings, ITEM, api::deprovisioning))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let receipt = call.app.deprovisioning(&named(call)?).await?;
    Ok(Answer::ok(&api::deprovisioning(&receipt)))
}

pub(super) async fn devices(call: &Call<'_>) -> Outcome {
    let (id, size) = (named(call)?, call.page_size()?);
    let state = asked(call, "state")?.map(|text| api::parse_item_state(&text)).transpose()?;
    let after = match after(call, Collection::DeprovisionedDevices)? {
        None => 0,
        Some(key) => api::device_number(&id, &key).map_err(OperatorRefusal::from)?,
    };
    // One more than the page holds tells whether there is another.
    let mut items = call.app.list_deprovision_items(&id, state, after, size + 1).await?;
    let is_more = items.len() > size;
    items.truncate(size);
    let shown = items.iter().map(api::deprovisioned_device).collect();
    let answer = Answer::ok(&Json::Array(shown))
        .with("x-content-type-options", "nosniff")
        .with("x-ms-item-type", DEVICE);
    Ok(match items.last().filter(|_| is_more) {
        None => answer,
        Some(last) => {
            let key = api::device_key(&id, last.number);
            let token = continuation::encode(Collection::DeprovisionedDevices, &key);
            answer.with("x-ms-continuation", &token)
        }
    })
}

/// Makes a plan. Nothing happens to any device.
pub(super) async fn plan(call: &Call<'_>, by: &Caller) -> Outcome {
    let wait = wait(call)?;
    let body = api::parse_deprovisioning(call.body()?, call.now)?;
    let mut select = body.select;
    if let Some(der) = body.certificate {
        select.certificate = Some(selected_certificate(&der)?);
    }
    let Some(place) = place(call) else {
        return Err(Problem::Refused(OperatorRefusal::Throttled(ASK_AGAIN_SECS)));
    };
    let planning = call.app.begin_plan(&select, body.intent, body.reason, by).await?;
    let (app, id) = (call.app.clone(), planning.id().clone());
    let making = async move {
        let _place = place;
        app.make_plan(planning).await
    };
    match within(call, wait, &id, making).await {
        Some(made) => Ok(told(&made?)),
        None => Ok(told(&call.app.deprovisioning(&id).await?)),
    }
}

/// Applies a plan; once more, it answers how far that is.
pub(super) async fn apply(call: &Call<'_>, by: &Caller) -> Outcome {
    let (id, wait) = (named(call)?, wait(call)?);
    let found = call.app.deprovisioning(&id).await?;
    if let DeprovisionState::Applying | DeprovisionState::Done = found.head.state {
        return Ok(told(&found));
    }
    // Refusals are told at once, whoever waits or not.
    let begun = call.app.begin_deprovision(&id, by).await?;
    let Some(_place) = place(call) else { return Ok(told(&begun)) };
    let (app, of) = (call.app.clone(), id.clone());
    // The worker goes on with what is left when nobody waits any more.
    let waiting = Arc::new(());
    let waits = Arc::downgrade(&waiting);
    let applying = async move { app.go_on_deprovision(&of, || waits.strong_count() > 0).await };
    let done = within(call, wait, &id, applying).await;
    drop(waiting);
    match done {
        Some(done) => Ok(told(&done?)),
        None => Ok(told(&call.app.deprovisioning(&id).await?)),
    }
}

/// 200 with what is whole, 202 with what somebody works on.
fn told(receipt: &Receipt) -> Answer {
    let document = api::deprovisioning(receipt);
    match receipt.head.state {
        DeprovisionState::Planned | DeprovisionState::Done => Answer::ok(&document),
        DeprovisionState::Planning | DeprovisionState::Applying => {
            Answer::json(StatusCode::ACCEPTED, &document)
                .with("location", &format!("/induct/v1/deprovisionings/{}", receipt.head.id))
                .with("retry-after", &ASK_AGAIN_SECS.to_string())
        }
    }
}

/// What comes of some work, if it comes in time. The work goes on in any case, until the server
/// stops.
async fn within(
    call: &Call<'_>,
    wait: Duration,
    id: &ReceiptId,
    work: impl Future<Output = Result<Receipt, No<OperatorRefusal>>> + Send + 'static,
) -> Option<Result<Receipt, No<OperatorRefusal>>> {
    let (tell, told) = oneshot::channel();
    let (mut stop, id) = (call.stop.clone(), id.clone());
    tokio::spawn(async move {
        let outcome = tokio::select! {
            () = stop.asked() => return,
            outcome = work => outcome,
        };
        // Whoever hears of it tells.
        if let Err(Err(no)) = tell.send(outcome) {
            warn!(receipt.id = %id, error = &no as &dyn Error, "the deprovisioning {id} did not go on: {no}");
        }
    });
    if wait.is_zero() {
        return None;
    }
    timeout(wait, told).await.ok()?.ok()
}

fn place(call: &Call<'_>) -> Option<OwnedSemaphorePermit> {
    call.deprovisionings.clone().try_acquire_owned().ok()
}

/// The plan or receipt that the path names.
fn named(call: &Call<'_>) -> Result<ReceiptId, OperatorRefusal> {
    let text = call.param(0);
    let cut = || text.chars().take(MAX_NAME_CHARS).collect();
    ReceiptId::parse(text).map_err(|_| OperatorRefusal::ReceiptNotFound(cut()))
}

fn wait(call: &Call<'_>) -> Result<Duration, Problem<OperatorRefusal>> {
    let most = MAX_WAIT.as_secs();
    match asked(call, "wait")? {
        None => Ok(Duration::from_secs(DEFAULT_WAIT_SECS)),
        Some(text) => match text.parse() {
            Ok(secs) if secs <= most => Ok(Duration::from_secs(secs)),
            _ => Err(bad(&format!("wait: expected seconds from 0 to {most}"))),
        },
    }
}
