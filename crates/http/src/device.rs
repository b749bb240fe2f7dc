//! The device endpoint: register, poll, and where a registration stands (D §1).

use app::{
    No,
    limits::DeviceCall,
    visits::{Introduction, TurnedAway, Visit},
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use model::{
    ApiVersion, AttestFailure, DeviceRefusal, Door, Evidence, OperationId, RegisterRequest,
    RegistrationId, RegistrationRecord, RegistrationStatus,
};
use wire::{RequestFault, device::RegisterBody};

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::{self, Problem};
use crate::routes::DeviceAction;

type Outcome = Result<Answer, Problem<DeviceRefusal>>;

/// Answers a device.
pub(crate) async fn answer(call: &Call<'_>, action: DeviceAction) -> Answer {
    let outcome = match action {
        DeviceAction::Register => register(call).await,
        DeviceAction::OperationStatus => operation_status(call).await,
        DeviceAction::RegistrationStatus => registration_status(call).await,
    };
    let answer = outcome.unwrap_or_else(|problem| errors::device(call, problem));
    answer.about(RegistrationId::parse(call.param(1)).ok())
}

async fn register(call: &Call<'_>) -> Outcome {
    let request = request(call, Body::Read, DeviceCall::Register).await?;
    let (visit, scope) = (visit(call), call.param(0));
    if let Evidence::Tpm(_) = &request.evidence {
        return Ok(match call.app.challenge_tpm_from(&visit, scope, request).await {
            Ok(wrapped_key) => {
                let body = wire::device::tpm_challenge(&wrapped_key);
                Answer::json(StatusCode::UNAUTHORIZED, &body)
            }
            Err(no) => turned_away(call, no),
        });
    }
    let id = request.registration_id.clone();
    Ok(match call.app.register_from(&visit, scope, request).await {
        Ok(operation) => {
            // Always 202 and `assigning`: two clients take nothing else (D §0.7). The first poll
            // tells.
            let body = wire::device::accepted(&operation);
            waiting(call, Answer::json(StatusCode::ACCEPTED, &body))
                .with("location", &location(call, &id))
        }
        Err(no) => turned_away(call, no),
    })
}

/// Who is refused again and again is told when to ask again.
fn turned_away(call: &Call<'_>, TurnedAway { no, retry_after_secs }: TurnedAway) -> Answer {
    let answer = errors::device(call, no.into());
    match retry_after_secs {
        Some(secs) => answer.with("retry-after", &secs.to_string()),
        None => answer,
    }
}

fn visit<'a>(call: &Call<'a>) -> Visit<'a> {
    let address = call.peer.address.ip();
    Visit { tracking_id: call.tracking_id, door: Door::Https, address }
}

async fn operation_status(call: &Call<'_>) -> Outcome {
    // One client sends `{}` with its GET (D §1.2).
    let request = request(call, Body::Ignore, DeviceCall::Poll).await?;
    let version = request.api_version;
    let operation = OperationId::parse(call.param(2))
        .map_err(|_| Problem::Refused(DeviceRefusal::UnknownOperation))?;
    let record = call.app.operation_status(call.param(0), request, &operation).await?;
    let body = wire::device::operation_status(&operation, &record, version);
    Ok(standing(call, &record, Answer::ok(&body)))
}

async fn registration_status(call: &Call<'_>) -> Outcome {
    let request = request(call, Body::Read, DeviceCall::LookUp).await?;
    let record = call.app.registration_status(call.param(0), request).await?;
    Ok(standing(call, &record, Answer::ok(&wire::device::registration_result(&record))))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Read,
    Ignore,
}

/// What the device asks for and shows, from path, query, headers, body and TLS; if it may ask.
async fn request(
    call: &Call<'_>,
    body: Body,
    asked: DeviceCall,
) -> Result<RegisterRequest, Problem<DeviceRefusal>> {
    let api_version = api_version(call)?;
    let registration_id = RegistrationId::parse(call.param(1)).map_err(|bad| {
        DeviceRefusal::BadRequest(format!("the registration ID in the path: {bad}"))
    })?;
    let body = match body {
        Body::Read => wire::device::parse_register(call.body()?)?,
        Body::Ignore => RegisterBody::default(),
    };
    if body.registration_id.as_ref().is_some_and(|id| *id != registration_id) {
        let text = "registrationId: is not the registration ID of the path";
        return Err(Problem::Refused(DeviceRefusal::BadRequest(text.to_owned())));
    }
    // Nobody who may not ask gets anything written down, or read.
    call.app.admit_device(call.peer.address.ip(), &registration_id, asked).await?;
    let evidence = evidence(call, &body).inspect_err(|refusal| {
        if asked == DeviceCall::Register {
            // What was shown cannot be read, so it is nothing that could be kept.
            let said = Introduction {
                registration_id: &registration_id,
                api_version: Some(api_version),
                evidence: &Evidence::Nothing,
            };
            call.app.refused_at_the_door(&visit(call), call.param(0), said, refusal);
        }
    })?;
    Ok(RegisterRequest { registration_id, evidence, payload: body.payload, api_version })
}

/// A token beats a certificate: a gateway may show its own for all devices behind it (D §5.1.2).
fn evidence(call: &Call<'_>, body: &RegisterBody) -> Result<Evidence, DeviceRefusal> {
    if let Some(text) = authorization(call.headers) {
        // Whoever cannot write a token proves nothing, like one who signs a wrong one.
        let token = text
            .and_then(|text| wire::sas::parse(text).ok())
            .ok_or(DeviceRefusal::NotAttested(AttestFailure::BadSignature))?;
        return Ok(Evidence::Sas(token));
    }
    if let Some(tpm) = &body.tpm {
        return Ok(Evidence::Tpm(tpm.clone()));
    }
    match call.peer.client_chain.as_slice() {
        [] => Ok(Evidence::Nothing),
        chain => Ok(Evidence::X509(chain.to_vec())),
    }
}

/// The `Authorization` header if there is one; inside, `None` if it is not even text.
fn authorization(headers: &HeaderMap) -> Option<Option<&str>> {
    headers.get(AUTHORIZATION).map(|value| value.to_str().ok())
}

fn api_version(call: &Call<'_>) -> Result<ApiVersion, RequestFault> {
    match call.query("api-version")?.as_deref() {
        None | Some("") => Err(RequestFault::MissingApiVersion),
        Some(text) => ApiVersion::find(text).ok_or(RequestFault::UnsupportedApiVersion),
    }
}

/// Points at the registration, not at the operation, as the service does (D §1.6).
fn location(call: &Call<'_>, id: &RegistrationId) -> String {
    let configured = || call.app.settings().service_hosts.first().map_or("", String::as_str);
    let host = if call.host.is_empty() { configured() } else { call.host };
    format!("https://{host}/{}/registrations/{id}/register", call.param(0))
}

fn standing(call: &Call<'_>, record: &RegistrationRecord, answer: Answer) -> Answer {
    match record.status {
        RegistrationStatus::Assigning => waiting(call, answer),
        RegistrationStatus::Assigned
        | RegistrationStatus::Failed
        | RegistrationStatus::Disabled => answer,
    }
}

/// An answer that is not final says when to ask again.
fn waiting(call: &Call<'_>, answer: Answer) -> Answer {
    answer.with("retry-after", &call.settings.retry_after_secs.to_string())
}

impl From<No<DeviceRefusal>> for Problem<DeviceRefusal> {
    fn from(no: No<DeviceRefusal>) -> Self {
        Self::of(no)
    }
}

impl From<DeviceRefusal> for Problem<DeviceRefusal> {
    fn from(refusal: DeviceRefusal) -> Self {
        Self::Refused(refusal)
    }
}
