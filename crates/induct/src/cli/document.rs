//! JSON documents as commands make and change them: members in order, values at a path.

use model::Json;

use super::complaint::Complaint;

/// An object of these members, in this order.
#[must_use]
pub(crate) fn members<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Carries out `--set path=value`: members along the path are made where they are missing. The
/// value is JSON, or a text when it is no JSON.
///
/// # Errors
/// The text has no `=`, or the path leads through something that is no object.
pub(crate) fn set_at(document: &mut Json, assignment: &str) -> Result<(), Complaint> {
    let Some((path, value)) = assignment.split_once('=').filter(|(path, _)| !path.is_empty())
    else {
        return Err(Complaint::misuse(format!("--set wants path=value, not `{assignment}`."))
            .with_remedy("For example: --set tags.line=4"));
    };
    let value = json::parse(value).unwrap_or_else(|_| Json::from(value));
    set_in(document, path, value)
        .map_err(|at| Complaint::new(format!("--set {path}: `{at}` is not in an object.")))
}

fn set_in<'p>(json: &mut Json, path: &'p str, value: Json) -> Result<(), &'p str> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Json::Object(object) = json else { return Err(name) };
    let Some(rest) = rest else {
        json.set(name, value);
        return Ok(());
    };
    match object.iter_mut().find(|(n, _)| n == name) {
        Some((_, inner)) => set_in(inner, rest, value),
        None => {
            let mut inner = Json::empty_object();
            set_in(&mut inner, rest, value)?;
            object.push((name.to_owned(), inner));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, assignment: &str, expected: &str) {
        let mut document = json::parse(before).expect("legal");
        let shown = match set_at(&mut document, assignment) {
            Ok(()) => document.to_string(),
            Err(complaint) => complaint.message,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_value_is_set_in_its_place() {
        check(r#"{"a":{"b":1,"c":2},"d":3}"#, "a.b=1.50", r#"{"a":{"b":1.50,"c":2},"d":3}"#);
        check("{}", "tags.line=four=4", r#"{"tags":{"line":"four=4"}}"#);
        check(r#"{"a":1}"#, "a.b=2", "--set a.b: `b` is not in an object.");
        check("{}", "a", "--set wants path=value, not `a`.");
    }
}
