//! Reading members of a request's JSON, with the path of whatever is wrong.

use model::Json;
use thiserror::Error;

/// How much of an unknown member's name a refusal repeats, in characters.
const MAX_NAME_CHARS: usize = 64;

/// A member is missing, has the wrong type or an illegal value. The text names the member's path
/// and what was expected there, and never repeats the value: it may be a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {what}")]
pub struct Malformed {
    path: String,
    what: String,
}

impl Malformed {
    pub(crate) fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        let mut path = path.into();
        if path.is_empty() {
            path.push_str("the request body");
        }
        Self { path, what: what.into() }
    }

    fn wrong_type(path: String, expected: &str, found: &Json) -> Self {
        Self::new(path, format!("expected {expected}, found {}", type_name(found)))
    }
}

/// An object of the request and where it stands in it.
///
/// Every reader takes `null` for absent, because clients send `null` for each member they leave
/// out (O §0.9); [`Members::raw`] tells the two apart.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a> {
    object: &'a Json,
    path: String,
}

impl<'a> Members<'a> {
    /// The members of a value that must be an object. The body itself has the path `""`.
    pub(crate) fn of(value: &'a Json, path: impl Into<String>) -> Result<Self, Malformed> {
        let path = path.into();
        match value {
            Json::Object(_) => Ok(Self { object: value, path }),
            other => Err(Malformed::wrong_type(path, "an object", other)),
        }
    }

    /// These members, if they are of these names and no others: in an API of our own, a misspelt
    /// member would otherwise be taken for one that was left out.
    pub(crate) fn only(&self, known: &[&str]) -> Result<&Self, Malformed> {
        let names = self.object.as_object().unwrap_or_default().iter();
        match names.map(|(name, _)| name.as_str()).find(|name| !known.contains(name)) {
            None => Ok(self),
            Some(unknown) => {
                let unknown: String = unknown.chars().take(MAX_NAME_CHARS).collect();
                let known = known.join(", ");
                let what = format!("{unknown:?} is none of its members, {known}");
                Err(Malformed::new(self.path.as_str(), what))
            }
        }
    }

    /// The path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// The member as it stands, `null` included.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a Json> {
        self.object.get(name)
    }

    /// The member, unless it is absent or `null`.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Json> {
        self.raw(name).filter(|value| **value != Json::Null)
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, Malformed> {
        match self.value(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(Malformed::wrong_type(self.path(name), "a string", other)),
        }
    }

    /// A string that counts as absent when it is empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Malformed> {
        Ok(self.string(name)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn required_string(&self, name: &str) -> Result<&'a str, Malformed> {
        self.string(name)?.ok_or_else(|| self.missing(name))
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, Malformed> {
        match self.value(name) {
            None => Ok(None),
            Some(Json::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(Malformed::wrong_type(self.path(name), "true or false", other)),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Members<'a>>, Malformed> {
        self.value(name).map(|value| Self::of(value, self.path(name))).transpose()
    }

    pub(crate) fn array(&self, name: &str) -> Result<Option<&'a [Json]>, Malformed> {
        match self.value(name) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(Malformed::wrong_type(self.path(name), "an array", other)),
        }
    }

    /// An array of strings, none of them `null`.
    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Malformed> {
        let Some(items) = self.array(name)? else { return Ok(None) };
        let string = |(i, item): (usize, &Json)| match item {
            Json::String(text) => Ok(text.clone()),
            other => {
                Err(Malformed::wrong_type(format!("{}[{i}]", self.path(name)), "a string", other))
            }
        };
        items.iter().enumerate().map(string).collect::<Result<_, _>>().map(Some)
    }

    /// A member that is kept word for word but must be an object.
    pub(crate) fn verbatim_object(&self, name: &str) -> Result<Option<Json>, Malformed> {
        match self.value(name) {
            None => Ok(None),
            Some(value @ Json::Object(_)) => Ok(Some(value.clone())),
            Some(other) => Err(Malformed::wrong_type(self.path(name), "an object", other)),
        }
    }

    /// One of a closed list of words, in any letter case.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Malformed> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(self.wrong(name, format!("expected one of {}", known.join(", "))))
            }
        }
    }

    pub(crate) fn missing(&self, name: &str) -> Malformed {
        Malformed::new(self.path(name), "is required")
    }

    pub(crate) fn wrong(&self, name: &str, what: impl Into<String>) -> Malformed {
        Malformed::new(self.path(name), what)
    }
}

/// What a value is, for a sentence.
pub(crate) const fn type_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_reported_with_path_expectation_and_finding_but_not_value() {
        let body = json::parse(r#"{"a":{"b":{"key":123}},"list":["x",null]}"#).expect("JSON");
        let root = Members::of(&body, "").expect("object");
        let b =
            root.object("a").expect("a").expect("there").object("b").expect("b").expect("there");
        let check = |error: Malformed, text: &str| assert_eq!(error.to_string(), text);
        check(b.string("key").expect_err("number"), "a.b.key: expected a string, found a number");
        check(b.required_string("no").expect_err("missing"), "a.b.no: is required");
        check(root.strings("list").expect_err("null"), "list[1]: expected a string, found null");
        check(root.bool("a").expect_err("object"), "a: expected true or false, found an object");
        check(
            Members::of(&Json::Array(vec![]), "").expect_err("array"),
            "the request body: expected an object, found an array",
        );
    }

    #[test]
    fn null_counts_as_absent() {
        let body = json::parse(r#"{"a":null,"empty":""}"#).expect("JSON");
        let root = Members::of(&body, "").expect("object");
        assert_eq!(root.string("a"), Ok(None));
        assert_eq!(root.bool("a"), Ok(None));
        assert_eq!(root.text("empty"), Ok(None));
        assert_eq!(root.raw("a"), Some(&Json::Null));
    }
}
