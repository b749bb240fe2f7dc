//! CA certificates.

use app::bans::Wet;
use app::ca_certificates::CaDraft;
use app::simulate::Hypothesis;
use model::{CaCertificate, Caller, Json};
use wire::manage::{self as api, ShowCode};

use super::Outcome;
use super::simulate::{told, wet};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let mut shown = Vec::new();
    // There are few (D §6).
    for certificate in call.app.list_ca_certificates().await? {
        let used_by = call.app.groups_referring_to(&certificate.name).await?;
        shown.push(api::certificate(&certificate, &used_by, ShowCode::No));
    }
    Ok(Answer::ok(&Json::Array(shown)))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let certificate = call.app.get_ca_certificate(call.param(0)).await?;
    answer(call, &certificate, ShowCode::No).await
}

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let body = api::parse_certificate(call.body()?)?;
    let name = call.param(0).to_owned();
    let draft = CaDraft { name, der: body.der, verified: body.verified };
    if wet(call)? == Wet::Dry {
        let certificate = call.app.preview_ca_certificate(&draft, &precondition).await?;
        return preview(call, certificate).await;
    }
    let certificate = call.app.put_ca_certificate(&draft, &precondition, by).await?;
    answer(call, &certificate, ShowCode::No).await
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let (name, precondition) = (call.param(0), call.precondition()?);
    if wet(call)? == Wet::Dry {
        let used_by = call.app.preview_ca_removal(name, &precondition).await?;
        let answer = api::certificate_deleted(name, &used_by);
        return told(call, answer, Hypothesis::DeleteCaCertificate(name.to_owned())).await;
    }
    let used_by = call.app.delete_ca_certificate(name, &precondition, by).await?;
    Ok(Answer::ok(&api::certificate_deleted(name, &used_by)))
}

pub(super) async fn generate_code(call: &Call<'_>, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let name = call.param(0);
    let certificate = call.app.generate_verification_code(name, &precondition, by).await?;
    answer(call, &certificate, ShowCode::Yes).await
}

pub(super) async fn verify(call: &Call<'_>, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let proof = api::parse_proof(call.body()?)?;
    let name = call.param(0);
    if wet(call)? == Wet::Dry {
        let certificate = call.app.preview_ca_verification(name, &proof, &precondition).await?;
        return preview(call, certificate).await;
    }
    let certificate = call.app.verify_ca_certificate(name, &proof, &precondition, by).await?;
    answer(call, &certificate, ShowCode::No).await
}

async fn preview(call: &Call<'_>, certificate: CaCertificate) -> Outcome {
    let used_by = call.app.groups_referring_to(&certificate.name).await?;
    let answer = api::certificate(&certificate, &used_by, ShowCode::No);
    told(call, answer, Hypothesis::PutCaCertificate(Box::new(certificate))).await
}

async fn answer(call: &Call<'_>, certificate: &CaCertificate, show: ShowCode) -> Outcome {
    let used_by = call.app.groups_referring_to(&certificate.name).await?;
    Ok(Answer::ok(&api::certificate(certificate, &used_by, show)))
}
