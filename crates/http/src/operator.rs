//! The operator API of the provisioning service (O §1): every call of O §1.2.

mod bulk;
mod groups;
mod individuals;
mod records;

use app::No;
use http::header::AUTHORIZATION;
use model::{ApiVersion, Caller, Json, OperatorRefusal, Page, RegistrationId};
use wire::{RequestFault, continuation::Collection};

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::{self, Problem};
use crate::routes::{OperatorAction, Route};

/// What a handler comes back with.
type Outcome = Result<Answer, Problem<OperatorRefusal>>;

/// Answers an operator.
pub(crate) async fn answer(call: &Call<'_>, action: OperatorAction, route: &Route) -> Answer {
    let answer = match perform(call, action, route).await {
        Ok(answer) => answer,
        Err(problem) => errors::operator(call, problem),
    };
    answer.about(registration_id(call, action))
}

/// Whom the path names, if it names a device.
fn registration_id(call: &Call<'_>, action: OperatorAction) -> Option<RegistrationId> {
    match action {
        OperatorAction::IndividualAttestation
        | OperatorAction::GetIndividual
        | OperatorAction::PutIndividual
        | OperatorAction::DeleteIndividual
        | OperatorAction::GetRecord
        | OperatorAction::DeleteRecord => RegistrationId::parse(call.param(0)).ok(),
        OperatorAction::QueryIndividuals
        | OperatorAction::BulkIndividuals
        | OperatorAction::QueryGroups
        | OperatorAction::BulkGroups
        | OperatorAction::GroupAttestation
        | OperatorAction::GetGroup
        | OperatorAction::PutGroup
        | OperatorAction::DeleteGroup
        | OperatorAction::QueryRecords => None,
    }
}

async fn perform(call: &Call<'_>, action: OperatorAction, route: &Route) -> Outcome {
    // First of all: who proves nothing learns nothing, not even that a request is malformed.
    let by = authorize(call, route).await?;
    check_api_version(call)?;
    match action {
        OperatorAction::QueryIndividuals => individuals::query(call).await,
        OperatorAction::BulkIndividuals => bulk::individuals(call, &by).await,
        OperatorAction::IndividualAttestation => individuals::attestation(call).await,
        OperatorAction::GetIndividual => individuals::get(call).await,
        OperatorAction::PutIndividual => individuals::put(call, &by).await,
        OperatorAction::DeleteIndividual => individuals::delete(call, &by).await,
        OperatorAction::QueryGroups => groups::query(call).await,
        OperatorAction::BulkGroups => bulk::groups(call, &by).await,
        OperatorAction::GroupAttestation => groups::attestation(call).await,
        OperatorAction::GetGroup => groups::get(call).await,
        OperatorAction::PutGroup => groups::put(call, &by).await,
        OperatorAction::DeleteGroup => groups::delete(call, &by).await,
        OperatorAction::QueryRecords => records::query(call).await,
        OperatorAction::GetRecord => records::get(call).await,
        OperatorAction::DeleteRecord => records::delete(call, &by).await,
    }
}

/// Lets an operator in, and says who it is.
pub(crate) async fn authorize(
    call: &Call<'_>,
    route: &Route,
) -> Result<Caller, Problem<OperatorRefusal>> {
    // Who is kept out or asks too often gets no further, whatever they show.
    let address = call.peer.address.ip();
    call.app.admit_operator(address).await?;
    // An endpoint of this API without a right would be a mistake in the table; it stays shut.
    let Some(right) = route.right else {
        return Err(Problem::Request(RequestFault::UnknownRoute));
    };
    let refused = |why: String| Problem::Refused(OperatorRefusal::Unauthenticated(why));
    let Some(header) = call.headers.get(AUTHORIZATION) else {
        return Err(refused("the Authorization header is missing".to_owned()));
    };
    let text =
        header.to_str().map_err(|_| refused("the Authorization header is no text".into()))?;
    let token = wire::sas::parse(text).map_err(|bad| refused(bad.to_string()))?;
    Ok(call.app.authorize_service(&token, call.host, call.segments, right, address).await?)
}

fn check_api_version(call: &Call<'_>) -> Result<(), RequestFault> {
    match call.query("api-version")?.as_deref() {
        None | Some("") => Err(RequestFault::MissingApiVersion),
        Some(text) => match ApiVersion::find(text) {
            Some(_) => Ok(()),
            None => Err(RequestFault::UnsupportedApiVersion),
        },
    }
}

/// Where a query goes on, by its `x-ms-continuation`.
pub(crate) fn after(
    call: &Call<'_>,
    collection: Collection,
) -> Result<Option<String>, Problem<OperatorRefusal>> {
    match call.header("x-ms-continuation")?.filter(|token| !token.is_empty()) {
        None => Ok(None),
        Some(token) => {
            Ok(Some(wire::continuation::decode(collection, token).map_err(OperatorRefusal::from)?))
        }
    }
}

/// A page of a query (O §1.9): the item type is there even when no item is.
pub(crate) fn page<T>(
    page: &Page<T>,
    collection: Collection,
    item_type: &'static str,
    render: impl Fn(&T) -> Json,
) -> Answer {
    let answer = Answer::ok(&Json::Array(page.items.iter().map(render).collect()))
        .with("x-content-type-options", "nosniff")
        .with("x-ms-item-type", item_type);
    match &page.next {
        Some(key) => answer.with("x-ms-continuation", &wire::continuation::encode(collection, key)),
        None => answer,
    }
}

/// The body names the thing again, and must name the same.
pub(crate) fn same_id<T: PartialEq>(
    body: &T,
    path: &T,
    member: &str,
) -> Result<(), OperatorRefusal> {
    if body == path {
        return Ok(());
    }
    Err(OperatorRefusal::BadRequest(format!("{member}: is not the one of the path")))
}

impl From<No<OperatorRefusal>> for Problem<OperatorRefusal> {
    fn from(no: No<OperatorRefusal>) -> Self {
        Self::of(no)
    }
}

impl From<OperatorRefusal> for Problem<OperatorRefusal> {
    fn from(refusal: OperatorRefusal) -> Self {
        Self::Refused(refusal)
    }
}
