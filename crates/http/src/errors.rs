//! Every “no” as an answer: refusals by `wire`'s tables, request faults likewise, and faults of
//! ours, which are logged here, once, with all their causes.

use std::error::Error;

use app::{No, log::chain_of};
use http::Method;
use model::{ApiVersion, DeviceRefusal, HubRefusal, Json, OperatorRefusal, Timestamp};
use tracing::error;
use wire::{ErrorRow, RequestFault, hub::HubErrorRow};

use crate::answer::Answer;
use crate::call::Call;
use crate::routes::Site;

/// Why a handler has no answer.
#[derive(Debug)]
pub(crate) enum Problem<R> {
    /// The request was understood and declined.
    Refused(R),
    /// Nobody looked at what it wants.
    Request(RequestFault),
    /// Something of ours failed.
    Fault(Box<dyn Error + Send + Sync>),
}

impl<R> Problem<R> {
    pub(crate) fn of(no: No<R>) -> Self {
        match no {
            No::Refused(refusal) => Self::Refused(refusal),
            No::Fault(fault) => Self::Fault(Box::new(fault)),
        }
    }
}

impl<R> From<RequestFault> for Problem<R> {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

/// A device's error: never more than its protocol says; the log has the reason.
pub(crate) fn device(call: &Call<'_>, problem: Problem<DeviceRefusal>) -> Answer {
    match problem {
        Problem::Refused(refusal) => {
            let row = wire::device::error_row(&refusal);
            let answer = row_answer(call, &row, refusal.to_string());
            match refusal {
                DeviceRefusal::Throttled(secs) => asking_again(answer, secs),
                _ => answer,
            }
        }
        Problem::Request(fault) => request_fault(call, Site::Service, fault),
        Problem::Fault(fault) => our_fault(call, Site::Service, &*fault),
    }
}

/// An operator's error.
pub(crate) fn operator(call: &Call<'_>, problem: Problem<OperatorRefusal>) -> Answer {
    match problem {
        Problem::Refused(refusal) => {
            let row = wire::operator::error_row(&refusal);
            let answer = row_answer(call, &row, refusal.to_string());
            match refusal {
                OperatorRefusal::Throttled(secs) => asking_again(answer, secs),
                _ => answer,
            }
        }
        Problem::Request(fault) => request_fault(call, Site::Service, fault),
        Problem::Fault(fault) => our_fault(call, Site::Service, &*fault),
    }
}

/// An error on a hub's host.
pub(crate) fn hub(call: &Call<'_>, problem: Problem<HubRefusal>) -> Answer {
    match problem {
        Problem::Refused(refusal) => {
            let row = wire::hub::error_row(&refusal);
            let wait = match refusal {
                HubRefusal::Throttled(secs) => Some(secs),
                _ => None,
            };
            let shape = match refusal {
                // How a method fails, and nothing else does (H §2.3).
                HubRefusal::DeviceNotOnline(_) | HubRefusal::MethodTimeout(_) => {
                    wire::hub::envelope_nested
                }
                HubRefusal::ModuleExists { .. } => wire::hub::envelope_b,
                _ => wire::hub::envelope_a,
            };
            let reason = match refusal {
                // Whoever has no access is not told why; the log is.
                HubRefusal::Unauthorized(why) => why,
                other => other.to_string(),
            };
            let answer = hub_answer_in(shape, call, &row, reason);
            match wait {
                Some(secs) => asking_again(answer, secs),
                None => answer,
            }
        }
        Problem::Request(fault) => request_fault(call, Site::Hub, fault),
        Problem::Fault(fault) => our_fault(call, Site::Hub, &*fault),
    }
}

/// A refusal about a hub, told on the service's host: the hub's number and sentence, in the shape
/// that all answers there have.
pub(crate) fn hub_of_service(call: &Call<'_>, problem: Problem<HubRefusal>) -> Answer {
    match problem {
        Problem::Refused(refusal) => {
            let HubErrorRow { status, number, message, .. } = wire::hub::error_row(&refusal);
            let row = ErrorRow { status, code: number, message };
            row_answer(call, &row, refusal.to_string())
        }
        Problem::Request(fault) => request_fault(call, Site::Service, fault),
        Problem::Fault(fault) => our_fault(call, Site::Service, &*fault),
    }
}

/// Whoever asks too often is told when to ask again (D §6).
fn asking_again(answer: Answer, secs: u32) -> Answer {
    answer.with("retry-after", &secs.to_string())
}

/// A request that nobody looked at.
pub(crate) fn request_fault(call: &Call<'_>, site: Site, fault: RequestFault) -> Answer {
    let mut row = fault.row();
    let reason = row.message.clone();
    if let RequestFault::MissingApiVersion | RequestFault::UnsupportedApiVersion = fault {
        let known: Vec<_> = ApiVersion::ALL.iter().map(|(_, text)| *text).collect();
        row.message = format!("{} We answer {}.", row.message, known.join(", "));
    }
    let answer = shaped(call, site, fault, row, reason);
    match fault {
        // The rest of the body is still on its way; what comes after it is no request.
        RequestFault::TooLarge { .. } | RequestFault::Timeout => answer.with("connection", "close"),
        _ => answer,
    }
}

/// 405, with the methods that would be answered.
pub(crate) fn other_methods(call: &Call<'_>, site: Site, allowed: &[Method]) -> Answer {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    request_fault(call, site, RequestFault::MethodNotAllowed).with("allow", &names.join(", "))
}

/// 414
pub(crate) fn uri_too_long(call: &Call<'_>, site: Site) -> Answer {
    let fault = RequestFault::BadPath;
    let message = "The path and query are too long.".to_owned();
    let row = ErrorRow { status: 414, code: 414_000, message };
    let reason = row.message.clone();
    shaped(call, site, fault, row, reason)
}

/// The path is answered, but not on this host. Which hosts are hubs is told to nobody who has not
/// shown a token.
pub(crate) fn on_other_site(call: &Call<'_>, site: Site) -> Answer {
    let host: String = call.host.chars().take(128).collect();
    let message = match site {
        Site::Service => format!(
            "This path is answered on the host name of a hub, and {host:?} is no hub of this \
             service. Send the request to a hub's host name (the assignedHub of a device)."
        ),
        Site::Hub => format!(
            "This path is answered on the host name of the provisioning service, and {host:?} is a \
             hub."
        ),
    };
    let fault = RequestFault::UnknownRoute;
    let row = ErrorRow { message, ..fault.row() };
    shaped(call, site, fault, row, "the path belongs to another host".to_owned())
}

fn shaped(
    call: &Call<'_>,
    site: Site,
    fault: RequestFault,
    row: ErrorRow,
    reason: String,
) -> Answer {
    match site {
        Site::Service => row_answer(call, &row, reason),
        Site::Hub => {
            let row = HubErrorRow { message: row.message, ..wire::hub::fault_row(fault) };
            hub_answer(call, &row, reason)
        }
    }
}

/// 501: a part of a real hub that is not here (H §6).
pub(crate) fn not_built(call: &Call<'_>, what: &str) -> Answer {
    let text = format!("this hub has no {what}");
    let row = wire::hub::error_row(&HubRefusal::NotImplemented(text.clone()));
    hub_answer(call, &HubErrorRow { status: 501, ..row }, text)
}

fn hub_answer(call: &Call<'_>, row: &HubErrorRow, reason: String) -> Answer {
    hub_answer_in(wire::hub::envelope_a, call, row, reason)
}

fn hub_answer_in(
    envelope: fn(&HubErrorRow, &str, Timestamp) -> Json,
    call: &Call<'_>,
    row: &HubErrorRow,
    reason: String,
) -> Answer {
    let body = envelope(row, call.tracking_id, call.now);
    Answer::error(row.status, &body, row.name.to_owned(), reason)
        .with(wire::hub::ERROR_CODE_HEADER, row.name)
}

fn row_answer(call: &Call<'_>, row: &ErrorRow, reason: String) -> Answer {
    let body = wire::error_body(row, call.tracking_id, call.now);
    let code = row.code.to_string();
    let answer = Answer::error(row.status, &body, code.clone(), reason);
    let answer = answer.with("x-ms-error-code", &code);
    match row.status {
        // Not final: says when to ask again. (A hub says it to nobody, H §2.3.)
        429 | 503 => answer.with("retry-after", &call.settings.retry_after_secs.to_string()),
        _ => answer,
    }
}

/// Says what broke, with every cause, to the log, and nothing but the tracking ID to the caller.
pub(crate) fn our_fault(
    call: &Call<'_>,
    site: Site,
    fault: &(dyn Error + Send + Sync + 'static),
) -> Answer {
    log_fault(call, fault);
    request_fault(call, site, RequestFault::Internal)
}

/// Says what broke, with every cause, to the log.
pub(crate) fn log_fault(call: &Call<'_>, fault: &(dyn Error + Send + Sync + 'static)) {
    let chain = chain_of(fault);
    error!(tracking_id = call.tracking_id, error = %chain, "a request failed by our fault: {chain}");
}
