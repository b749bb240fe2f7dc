//! Building answers member by member, in the order the wire has.

use model::Json;

/// An object under construction.
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<(String, Json)>);

impl Object {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a member unless there is no value for it.
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a member, `null` when there is no value for it.
    pub(crate) fn with_nullable(self, name: &str, value: Option<impl Into<Json>>) -> Self {
        self.with(name, value.map_or(Json::Null, Into::into))
    }

    pub(crate) fn build(self) -> Json {
        Json::Object(self.0)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        object.build()
    }
}
