//! The query language of hubs, as far as we answer it (H §7): text to [`Query`].
//!
//! ```text
//! SELECT [TOP n] * | COUNT() [AS name] | path [AS name], …
//! FROM devices | devices.modules
//! [WHERE condition]
//! ```
//!
//! Conditions are `= != <> < <= > >=` of a path and a literal, `IN [..]`, `NIN [..]`,
//! `IS_DEFINED(path)`, joined by `AND`, `OR`, `NOT` and parentheses. Keywords and the names a hub
//! gave compare without letter case; members of tags and properties compare as written.

mod lexer;
#[cfg(test)]
mod tests;

use lexer::{Lexer, Token};
use model::{
    HubRefusal,
    query::{Column, Comparison, Filter, Literal, Path, Query, Select, Source},
};
use thiserror::Error;

use super::parse_body;
use crate::read::Members;

/// The longest query, in characters (H §7).
pub const MAX_QUERY_CHARS: usize = 8192;

/// How deep parentheses and `NOT` may nest.
const MAX_DEPTH: usize = 32;

/// The members a hub gave a twin, in the spelling answers have; below them those of fixed shape.
const ROOTS: &[(&str, &[&str])] = &[
    ("deviceId", &[]),
    ("moduleId", &[]),
    ("etag", &[]),
    ("deviceEtag", &[]),
    ("status", &[]),
    ("statusReason", &[]),
    ("statusUpdateTime", &[]),
    ("connectionState", &[]),
    ("lastActivityTime", &[]),
    ("cloudToDeviceMessageCount", &[]),
    ("authenticationType", &[]),
    ("x509Thumbprint", &["primaryThumbprint", "secondaryThumbprint"]),
    ("version", &[]),
    ("tags", &[]),
    ("properties", &["desired", "reported"]),
    ("capabilities", &["iotEdge"]),
    ("deviceScope", &[]),
    ("parentScopes", &[]),
];

/// A query we do not understand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadQuery {
    /// The text is longer than [`MAX_QUERY_CHARS`].
    #[error("the query has {0} characters, at most {MAX_QUERY_CHARS} are read")]
    TooLong(usize),
    /// Something else stands where this was expected.
    #[error("column {column}: {what}")]
    Syntax {
        /// Where, in characters from 1.
        column: usize,
        /// What was expected, or is not supported.
        what: String,
    },
}

impl From<BadQuery> for HubRefusal {
    fn from(bad: BadQuery) -> Self {
        // Clients look for `ErrorCode:ArgumentInvalid;BadRequest` (H §7).
        Self::ArgumentInvalid(format!("BadRequest: {bad}"))
    }
}

/// Parses the body of `POST /devices/query` and the query in it.
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] with member
/// or column.
pub fn parse_request(body: &[u8]) -> Result<Query, HubRefusal> {
    let body = parse_body(body)?;
    let body = Members::of(&body, "")?;
    Ok(parse(body.required_string("query")?)?)
}

/// Parses a query.
///
/// # Errors
/// [`BadQuery`]
pub fn parse(text: &str) -> Result<Query, BadQuery> {
    let n_chars = text.chars().count();
    if n_chars > MAX_QUERY_CHARS {
        return Err(BadQuery::TooLong(n_chars));
    }
    let mut parser = Parser { tokens: Lexer::new(text).tokens()?, at: 0 };
    parser.query()
}

struct Parser {
    /// Each with its column; the last is [`Token::End`].
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn query(&mut self) -> Result<Query, BadQuery> {
        self.keyword("SELECT")?;
        let top = match self.take_keyword("TOP") {
            true => Some(self.count()?),
            false => None,
        };
        let select = self.select()?;
        self.keyword("FROM")?;
        let from = self.source()?;
        let filter = match self.take_keyword("WHERE") {
            true => Some(self.or(0)?),
            false => None,
        };
        for clause in ["GROUP", "ORDER", "HAVING", "JOIN"] {
            if self.is_keyword(clause) {
                return Err(self.wrong(format!("{clause} is not supported")));
            }
        }
        match self.peek() {
            Token::End => Ok(Query { select, from, filter, top }),
            _ => Err(self.wrong("expected the end of the query")),
        }
    }

    fn count(&mut self) -> Result<u64, BadQuery> {
        let count = match self.peek() {
            Token::Number(token) => token.parse().ok(),
            _ => None,
        };
        let count = count.ok_or_else(|| self.wrong("expected a whole number after TOP"))?;
        self.at += 1;
        Ok(count)
    }

    fn select(&mut self) -> Result<Select, BadQuery> {
        if self.take(&Token::Star) {
            return Ok(Select::All);
        }
        if self.is_call("COUNT") {
            self.at += 2;
            self.take(&Token::Star);
            self.expect(&Token::Close, "expected `)`")?;
            let name = match self.take_keyword("AS") {
                true => self.name()?,
                // What the service we are compatible with calls a nameless column.
                false => "$1".to_owned(),
            };
            return Ok(Select::Count { name });
        }
        let mut columns = vec![self.column()?];
        while self.take(&Token::Comma) {
            columns.push(self.column()?);
        }
        Ok(Select::Columns(columns))
    }

    fn column(&mut self) -> Result<Column, BadQuery> {
        let path = self.path()?;
        let name = match self.take_keyword("AS") {
            true => self.name()?,
            false => path.0.last().cloned().unwrap_or_default(),
        };
        Ok(Column { path, name })
    }

    fn source(&mut self) -> Result<Source, BadQuery> {
        let source = "expected devices or devices.modules";
        if !self.take_keyword("devices") {
            return Err(self.wrong(source));
        }
        if !self.take(&Token::Dot) {
            return Ok(Source::Devices);
        }
        match self.take_keyword("modules") {
            true => Ok(Source::Modules),
            false => Err(self.wrong(source)),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        let mut left = self.and(depth)?;
        while self.take_keyword("OR") {
            left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        let mut left = self.not(depth)?;
        while self.take_keyword("AND") {
            left = Filter::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("conditions nest deeper than {MAX_DEPTH} levels")));
        }
        if self.take_keyword("NOT") {
            return Ok(Filter::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let inner = self.or(depth + 1)?;
            self.expect(&Token::Close, "expected `)`")?;
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Filter, BadQuery> {
        if self.is_call("IS_DEFINED") {
            self.at += 2;
            let path = self.path()?;
            self.expect(&Token::Close, "expected `)`")?;
            return Ok(Filter::IsDefined(path));
        }
        if let Some(literal) = self.find_literal() {
            let comparison = self.comparison()?;
            return Ok(Filter::Compare(self.path()?, flipped(comparison), literal));
        }
        let path = self.path()?;
        for (keyword, negated) in [("IN", false), ("NIN", true)] {
            if self.take_keyword(keyword) {
                return Ok(Filter::Among { path, literals: self.literals()?, negated });
            }
        }
        let comparison = self.comparison()?;
        Ok(Filter::Compare(path, comparison, self.literal()?))
    }

    fn comparison(&mut self) -> Result<Comparison, BadQuery> {
        match self.peek() {
            Token::Comparison(comparison) => {
                let comparison = *comparison;
                self.at += 1;
                Ok(comparison)
            }
            _ => Err(self.wrong("expected a comparison such as `=`, or IN")),
        }
    }

    /// `[literal, …]`
    fn literals(&mut self) -> Result<Vec<Literal>, BadQuery> {
        self.expect(&Token::OpenBracket, "expected `[`")?;
        let mut literals = Vec::new();
        if self.take(&Token::CloseBracket) {
            return Ok(literals);
        }
        loop {
            literals.push(self.literal()?);
            if self.take(&Token::CloseBracket) {
                return Ok(literals);
            }
            self.expect(&Token::Comma, "expected `,` or `]`")?;
        }
    }

    fn literal(&mut self) -> Result<Literal, BadQuery> {
        self.find_literal()
            .ok_or_else(|| self.wrong("expected a string, a number, true, false or null"))
    }

    fn find_literal(&mut self) -> Option<Literal> {
        let literal = match self.peek() {
            Token::String(text) => Literal::String(text.clone()),
            Token::Number(token) => Literal::Number(token.clone()),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Literal::Null,
            _ => return None,
        };
        self.at += 1;
        Some(literal)
    }

    /// `a.b['c d']`, without the `devices.` it may begin with.
    fn path(&mut self) -> Result<Path, BadQuery> {
        if self.is_call_of_any_name() {
            return Err(self.wrong("this function is not supported"));
        }
        let mut names = vec![self.name()?];
        loop {
            if self.take(&Token::Dot) {
                names.push(self.name()?);
            } else if self.peek() == &Token::OpenBracket {
                self.at += 1;
                let Token::String(name) = self.peek() else {
                    return Err(self.wrong("expected a member name in quotes"));
                };
                names.push(name.clone());
                self.at += 1;
                self.expect(&Token::CloseBracket, "expected `]`")?;
            } else {
                break;
            }
        }
        if names.len() > 1 && names[0].eq_ignore_ascii_case("devices") {
            names.remove(0);
        }
        canonicalise(&mut names);
        Ok(Path(names))
    }

    fn name(&mut self) -> Result<String, BadQuery> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.wrong("expected a name")),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), BadQuery> {
        match self.take_keyword(keyword) {
            true => Ok(()),
            false => Err(self.wrong(format!("expected {keyword}"))),
        }
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let there = self.is_keyword(keyword);
        if there {
            self.at += 1;
        }
        there
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Whether the function's name and an opening parenthesis come next.
    fn is_call(&self, function: &str) -> bool {
        self.is_keyword(function) && self.is_call_of_any_name()
    }

    fn is_call_of_any_name(&self) -> bool {
        matches!(self.peek(), Token::Word(_))
            && matches!(self.tokens.get(self.at + 1), Some((_, Token::Open)))
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), BadQuery> {
        match self.take(token) {
            true => Ok(()),
            false => Err(self.wrong(what)),
        }
    }

    fn take(&mut self, token: &Token) -> bool {
        let there = self.peek() == token;
        if there {
            self.at += 1;
        }
        there
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn wrong(&self, what: impl Into<String>) -> BadQuery {
        let last = self.tokens.last().map_or(1, |(column, _)| *column);
        let column = self.tokens.get(self.at).map_or(last, |(column, _)| *column);
        BadQuery::Syntax { column, what: what.into() }
    }
}

/// Gives the names a hub gave their canonical spelling. Unknown ones stay as written: they lead
/// nowhere.
fn canonicalise(names: &mut [String]) {
    let mut names = names.iter_mut();
    let Some(first) = names.next() else { return };
    let Some((root, below)) = ROOTS.iter().find(|(root, _)| root.eq_ignore_ascii_case(first))
    else {
        return;
    };
    (*root).clone_into(first);
    if let Some(second) = names.next()
        && let Some(name) = below.iter().find(|name| name.eq_ignore_ascii_case(second))
    {
        (*name).clone_into(second);
    }
}

/// `5 < path` is `path > 5`.
const fn flipped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::Equal,
        Comparison::NotEqual => Comparison::NotEqual,
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
    }
}
