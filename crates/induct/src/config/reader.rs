//! Takes settings out of the file and the environment one by one, and remembers what was wrong.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Problem, Problems};
use crate::ports::Environment;

/// What every variable of ours begins with.
const PREFIX: &str = "INDUCT_";

/// A setting with its value and where that came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Such as `listen.https`.
    pub path: String,
    /// The value in use.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        })
    }
}

/// A section that was read, and the keys that were asked for.
struct KnownSection {
    name: &'static str,
    keys: Vec<String>,
}

/// The file and the environment, and what was found in them so far.
pub(super) struct Reader {
    file: Table,
    /// Relative paths in the file are meant from here.
    file_folder: PathBuf,
    working_folder: PathBuf,
    variables: BTreeMap<String, String>,
    known_sections: Vec<KnownSection>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader {
    /// Takes text and variables in.
    ///
    /// # Errors
    /// A text that is no TOML is the only problem reported, because nothing else can be known.
    pub(super) fn new(
        text: &str,
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let working_folder = environment.working_folder.clone();
        let table = toml::from_str::<Table>(text).map_err(|error| {
            let file = file.unwrap_or_else(|| Path::new("configuration"));
            Problems::with_file(file, format!("is not TOML: {error}"))
        })?;
        let folder = file.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let variables = environment
            .variables
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Ok(Self {
            file: table,
            file_folder: working_folder.join(folder),
            working_folder,
            variables,
            known_sections: Vec::new(),
            settings: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// Reads a section; keys that `read` does not ask for are unknown.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let table = match self.file.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let kind = other.type_str();
                self.problem(name, format!("is a section, written `[{name}]`, not {kind}"));
                Table::new()
            }
        };
        let prefix = format!("{PREFIX}{}__", name.to_uppercase());
        let mut section = Section::new(self, name.to_owned(), table, Some(prefix));
        let answer = read(&mut section);
        let keys = section.finish();
        self.known_sections.push(KnownSection { name, keys });
        answer
    }

    /// Reads an array of sections, such as `[[hubs]]`; `None` when there is none. The variable
    /// `INDUCT_HUBS` holds it as a TOML array.
    pub(super) fn sections<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let variable = format!("{PREFIX}{}", name.to_uppercase());
        let from_file = self.file.remove(name);
        let elements = match self.variables.remove(&variable) {
            None => from_file?,
            Some(text) => match toml::from_str::<Table>(&format!("v = {text}")) {
                Ok(mut table) => table.remove("v")?,
                Err(_) => {
                    self.problems.push(Problem {
                        in_environment: true,
                        path: variable,
                        text: "is not a TOML array such as \
                               [{name = \"hub-1\", host = \"hub-1.localhost\"}]"
                            .to_owned(),
                    });
                    return None;
                }
            },
        };
        let Value::Array(elements) = elements else {
            self.problem(name, format!("is a list of sections, each written `[[{name}]]`"));
            return None;
        };
        let mut answers = Vec::new();
        for (i, element) in elements.into_iter().enumerate() {
            let path = format!("{name}[{i}]");
            let Value::Table(table) = element else {
                self.problem(&path, format!("is a section, written `[[{name}]]`"));
                continue;
            };
            let mut section = Section::new(self, path, table, None);
            answers.push(read(&mut section));
            section.finish();
        }
        Some(answers)
    }

    /// Says that a setting is wrong.
    pub(super) fn problem(&mut self, path: &str, text: String) {
        self.problems.push(Problem { in_environment: false, path: path.to_owned(), text });
    }

    /// Whether something was said to be wrong with this setting.
    pub(super) fn has_problem(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.path == path)
    }

    /// Notes a setting that nobody said anything about.
    pub(super) fn note_default(&mut self, path: String, value: Value) {
        self.settings.push(Setting { path, value, origin: Origin::Default });
    }

    /// Notes what a setting that was left out comes to.
    pub(super) fn amend(&mut self, path: &str, value: Value) {
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.path == path) {
            setting.value = value;
        }
    }

    /// Says that something is wrong outside of the settings.
    pub(super) fn other_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whatever was not asked for is unknown. Returns all settings and all problems.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<Problem>) {
        let unknown: Vec<_> = self.file.keys().cloned().collect();
        for name in unknown {
            let known: Vec<_> = self.known_sections.iter().map(|section| section.name).collect();
            let known = known.join(", ");
            self.problem(&name, format!("is not a section; there are {known}, hubs"));
        }
        for name in self.variables.keys() {
            if let Some(text) = complain(name, &self.known_sections) {
                self.problems.push(Problem { in_environment: true, path: name.clone(), text });
            }
        }
        (self.settings, self.problems)
    }
}

/// What is wrong with a variable that no setting asked for. Other programs' variables may begin
/// with our prefix as well (Kubernetes sets `INDUCT_SERVICE_HOST` and more where a service is
/// called `induct`), so one without two underscores is left alone, unless it would be a setting
/// with them.
fn complain(name: &str, sections: &[KnownSection]) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    if rest.contains("__") {
        return Some(
            "is not a setting; `induct config show` lists all of them, and INDUCT_LISTEN__HTTPS \
             stands for listen.https"
                .to_owned(),
        );
    }
    let (section, key) = sections.iter().find_map(|section| {
        let name = section.name.to_uppercase();
        let key = rest.strip_prefix(&name)?.strip_prefix('_')?;
        section.keys.iter().any(|known| known.to_uppercase() == key).then_some((name, key))
    })?;
    Some(format!(
        "is not a setting; two underscores stand between section and key: \
         {PREFIX}{section}__{key}"
    ))
}

/// One section while it is read.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    table: Table,
    variables: Option<String>,
    keys: Vec<String>,
}

/// A value as it was found.
enum Found {
    File(Value),
    Variable(String),
}

/// Where to point when a value is wrong.
struct Place {
    in_environment: bool,
    path: String,
}

impl<'r> Section<'r> {
    fn new(reader: &'r mut Reader, path: String, table: Table, variables: Option<String>) -> Self {
        Self { reader, path, table, variables, keys: Vec::new() }
    }

    /// A text.
    fn text(&mut self, key: &str, default: &str) -> String {
        self.checked(key, default, |text| Ok(text.to_owned()))
    }

    /// A text that `parse` accepts, perhaps in another form.
    pub(super) fn checked(
        &mut self,
        key: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<String, String>,
    ) -> String {
        let default = default.to_owned();
        let (found, place) = self.take(key);
        let text = match found {
            None => {
                self.note(key, Value::String(default.clone()), Origin::Default);
                return default;
            }
            Some(Found::File(Value::String(text))) => text,
            Some(Found::Variable(text)) => text,
            Some(Found::File(other)) => {
                self.wrong(&place, format!("is a text in quotes, not {}", other.type_str()));
                return default;
            }
        };
        let origin = place.origin();
        self.note(key, Value::String(text.clone()), origin);
        parse(&text).unwrap_or_else(|why| {
            self.wrong(&place, why);
            default
        })
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        options: &[(&'static str, T)],
        default: &'static str,
    ) -> Option<T> {
        let text = self.checked(key, default, |text| {
            if options.iter().any(|(word, _)| *word == text) {
                return Ok(text.to_owned());
            }
            let words: Vec<_> = options.iter().map(|(word, _)| format!("`{word}`")).collect();
            Err(format!("`{text}` is not one of {}", words.join(", ")))
        });
        options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, key: &str, default: i64, bounds: RangeInclusive<i64>) -> i64 {
        let (found, place) = self.take(key);
        let number = match found {
            None => {
                self.note(key, Value::Integer(default), Origin::Default);
                return default;
            }
            Some(Found::File(Value::Integer(number))) => number,
            Some(Found::Variable(text)) => match text.parse() {
                Ok(number) => number,
                Err(_) => {
                    self.wrong(&place, format!("`{text}` is not a whole number"));
                    return default;
                }
            },
            Some(Found::File(other)) => {
                self.wrong(&place, format!("is a whole number, not {}", other.type_str()));
                return default;
            }
        };
        let origin = place.origin();
        self.note(key, Value::Integer(number), origin);
        if bounds.contains(&number) {
            return number;
        }
        let (least, most) = (bounds.start(), bounds.end());
        self.wrong(&place, format!("{number} is not within {least} to {most}"));
        default
    }

    /// A size or count within bounds.
    pub(super) fn count(
        &mut self,
        key: &str,
        default: usize,
        bounds: RangeInclusive<usize>,
    ) -> usize {
        let wide = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let number = self.integer(key, wide(default), wide(*bounds.start())..=wide(*bounds.end()));
        usize::try_from(number).unwrap_or(default)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let (found, place) = self.take(key);
        let flag = match found {
            None => {
                self.note(key, Value::Boolean(default), Origin::Default);
                return default;
            }
            Some(Found::File(Value::Boolean(flag))) => Some(flag),
            Some(Found::Variable(text)) => text.parse().ok(),
            Some(Found::File(_)) => None,
        };
        if let Some(flag) = flag {
            let origin = place.origin();
            self.note(key, Value::Boolean(flag), origin);
            return flag;
        }
        self.wrong(&place, "is `true` or `false`".to_owned());
        default
    }

    /// A list of texts that `parse` understands; at least one. In a variable they are separated
    /// by commas.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let default: Vec<String> = default.iter().map(|text| (*text).to_owned()).collect();
        let (parsed, empty) = self.elements(key, &default, parse);
        if let Some(place) = empty {
            self.wrong(&place, "is empty; name at least one".to_owned());
        }
        parsed
    }

    /// As [`Self::list`], but it may be empty: `[]`, or a variable without a text.
    pub(super) fn list_or_none<T>(
        &mut self,
        key: &str,
        default: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.elements(key, default, parse).0
    }

    /// The elements of a list, and where it stands if it is empty.
    fn elements<T>(
        &mut self,
        key: &str,
        default: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> (Vec<T>, Option<Place>) {
        let (found, place) = self.take(key);
        let (texts, origin): (Vec<String>, _) = match found {
            None => (default.to_vec(), Origin::Default),
            Some(Found::Variable(text)) if text.trim().is_empty() => {
                (Vec::new(), Origin::Environment)
            }
            Some(Found::Variable(text)) => {
                (text.split(',').map(|part| part.trim().to_owned()).collect(), Origin::Environment)
            }
            Some(Found::File(Value::Array(values))) => {
                let texts = values.iter().map(|v| v.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) => (texts, Origin::File),
                    None => {
                        self.wrong(&place, "is a list of texts in quotes".to_owned());
                        return (Vec::new(), None);
                    }
                }
            }
            Some(Found::File(_)) => {
                self.wrong(&place, format!("is a list, written `{key} = [\"…\"]`"));
                return (Vec::new(), None);
            }
        };
        self.note(key, Value::Array(texts.iter().cloned().map(Value::String).collect()), origin);
        let mut parsed = Vec::new();
        for text in &texts {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(why) => self.wrong(&place, why),
            }
        }
        (parsed, texts.is_empty().then_some(place))
    }

    /// A path, or `None` for an empty text. One in the file is meant from the file's folder, one
    /// in a variable from the working directory.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key, "");
        let origin = self.reader.settings.last().map(|setting| setting.origin);
        let base = match origin {
            Some(Origin::File) => &self.reader.file_folder,
            _ => &self.reader.working_folder,
        };
        (!text.is_empty()).then(|| base.join(text))
    }

    /// Says that a setting of this section is wrong.
    pub(super) fn problem(&mut self, key: &str, text: impl Into<String>) {
        let path = format!("{}.{key}", self.path);
        self.reader.problem(&path, text.into());
    }

    /// Says that the value of the setting just read comes from elsewhere.
    pub(super) fn overrule(&mut self, value: Value, origin: Origin) {
        if let Some(setting) = self.reader.settings.last_mut() {
            setting.value = value;
            setting.origin = origin;
        }
    }

    fn take(&mut self, key: &str) -> (Option<Found>, Place) {
        self.keys.push(key.to_owned());
        let from_file = self.table.remove(key);
        let variable = self.variables.as_ref().map(|p| format!("{p}{}", key.to_uppercase()));
        if let Some(name) = variable
            && let Some(text) = self.reader.variables.remove(&name)
        {
            let place = Place { in_environment: true, path: name };
            return (Some(Found::Variable(text)), place);
        }
        let place = Place { in_environment: false, path: format!("{}.{key}", self.path) };
        (from_file.map(Found::File), place)
    }

    fn note(&mut self, key: &str, value: Value, origin: Origin) {
        let path = format!("{}.{key}", self.path);
        self.reader.settings.push(Setting { path, value, origin });
    }

    fn wrong(&mut self, place: &Place, text: String) {
        let Place { in_environment, path } = place;
        let problem = Problem { in_environment: *in_environment, path: path.clone(), text };
        self.reader.problems.push(problem);
    }

    /// Says which keys are unknown, and returns those that are not.
    fn finish(self) -> Vec<String> {
        let known = self.keys.join(", ");
        for key in self.table.keys() {
            let path = format!("{}.{key}", self.path);
            self.reader.problem(&path, format!("is not a setting; there are {known}"));
        }
        self.keys
    }
}

impl Place {
    const fn origin(&self) -> Origin {
        if self.in_environment { Origin::Environment } else { Origin::File }
    }
}
