//! A hub query, taken apart (H §7). Text to query is `wire`'s work, answering it `decide`'s.

/// `SELECT … FROM devices WHERE …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What to return.
    pub select: Select,
    /// Where to look.
    pub from: Source,
    /// Which to return; absent means all.
    pub filter: Option<Filter>,
    /// `TOP n`
    pub top: Option<u64>,
}

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `devices`
    Devices,
    /// `devices.modules`
    Modules,
}

/// What to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// `*`: whole twins.
    All,
    /// `COUNT() AS name`
    Count {
        /// The member that holds the count.
        name: String,
    },
    /// A list of paths, each under a name.
    Columns(Vec<Column>),
}

/// One projected path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What to take.
    pub path: Path,
    /// What to call it: the alias, or else the last member of the path.
    pub name: String,
}

/// Member names from the twin's root, such as `tags`, `building`. The first is canonical
/// (`deviceId`, `properties`, …), the rest as written. Without a `devices.` prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub Vec<String>);

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Both hold.
    And(Box<Filter>, Box<Filter>),
    /// Either holds.
    Or(Box<Filter>, Box<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// The path compares so with the literal. A missing path compares with nothing.
    Compare(Path, Comparison, Literal),
    /// The path's value is among these (`IN`), or is there and is not (`NIN`).
    Among {
        /// The path.
        path: Path,
        /// The literals.
        literals: Vec<Literal>,
        /// Whether it is `NIN`.
        negated: bool,
    },
    /// `IS_DEFINED(path)`
    IsDefined(Path),
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=` or `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A string.
    String(String),
    /// A number, as its token.
    Number(String),
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
}
