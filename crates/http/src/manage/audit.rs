//! The audit log.

use model::{AuditFilter, Json, OperatorRefusal, Timestamp};
use wire::continuation::{self, Collection};
use wire::manage::{self as api, AuditCheck};

use super::{Outcome, asked, bad};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::operator;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let filter = AuditFilter {
        policy: asked(call, "policy")?,
        action: asked(call, "action")?,
        target: asked(call, "target")?,
        since: moment(call, "since")?,
        until: moment(call, "until")?,
    };
    let after = match operator::after(call, Collection::AuditLines)? {
        None => None,
        Some(key) => Some(api::audit_number(&key).map_err(OperatorRefusal::from)?),
    };
    let size = page_size(call)?;
    // One more than the page holds tells whether there is another.
    let mut lines = call.app.list_audit(&filter, after, size + 1).await?;
    let is_more = lines.len() > size;
    lines.truncate(size);
    let answer = Answer::ok(&Json::Array(lines.iter().map(api::audit_line).collect()))
        .with("x-content-type-options", "nosniff")
        .with("x-ms-item-type", "AuditLine");
    Ok(match lines.last().filter(|_| is_more) {
        None => answer,
        Some(last) => {
            let key = last.number.to_string();
            answer.with("x-ms-continuation", &continuation::encode(Collection::AuditLines, &key))
        }
    })
}

pub(super) async fn verify(call: &Call<'_>) -> Outcome {
    let found = call.app.verify_audit().await?;
    let check = AuditCheck {
        n_lines: found.n_lines,
        head: found.head,
        broken: found.broken.map(|broken| (broken.number, broken.why.to_string())),
    };
    Ok(Answer::ok(&api::audit_check(&check)))
}

/// `top`, or else the header that the queries of the operator API have.
fn page_size(call: &Call<'_>) -> Result<usize, Problem<OperatorRefusal>> {
    match asked(call, "top")? {
        None => Ok(call.page_size()?),
        Some(text) => match text.parse() {
            Ok(top @ 1..) => Ok(usize::min(top, call.settings.max_page)),
            _ => Err(bad("top: expected a whole number from 1")),
        },
    }
}

fn moment(call: &Call<'_>, name: &str) -> Result<Option<Timestamp>, Problem<OperatorRefusal>> {
    match asked(call, name)? {
        None => Ok(None),
        Some(text) => Ok(Some(api::audit_moment(name, &text)?)),
    }
}
