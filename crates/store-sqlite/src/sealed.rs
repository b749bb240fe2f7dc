//! Which columns are sealed, and how all of them are sealed anew.

use rusqlite::{Connection, Result, Row, ToSql, types::ValueRef};
use zeroize::Zeroizing;

use crate::vault::{Place, SealError};

/// How many rows are read at a time.
const PAGE: usize = 256;

/// Secrets to read from one table and to write, sealed, to columns of the same or another one.
pub(crate) struct Secrets {
    /// The table they are bound to.
    pub(crate) table: &'static str,
    /// Its primary key, all of it text.
    key: &'static [&'static str],
    /// The columns they are bound to.
    columns: &'static [&'static str],
}

/// Every sealed column there is.
pub(crate) const SECRETS: &[Secrets] = &[
    Secrets {
        table: "individual_enrollments",
        key: &["key"],
        columns: &["primary_key", "secondary_key", "webhook_url"],
    },
    Secrets {
        table: "enrollment_groups",
        key: &["key"],
        columns: &["primary_key", "secondary_key", "webhook_url"],
    },
    Secrets {
        table: "registration_records",
        key: &["key"],
        columns: &["pending_primary_key", "pending_secondary_key"],
    },
    Secrets {
        table: "devices",
        key: &["hub", "device_id"],
        columns: &["primary_key", "secondary_key"],
    },
    Secrets {
        table: "access_policies",
        key: &["hub", "name"],
        columns: &["primary_key", "secondary_key"],
    },
    Secrets { table: "linked_hubs", key: &["name"], columns: &["key"] },
    Secrets { table: "tpm_challenges", key: &["key", "number"], columns: &["challenge_key"] },
];

/// Where the secrets are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From their own columns.
    Sealed,
    /// From the columns and the table that the second schema's migration calls `plain_…`.
    Plain,
}

/// Why secrets could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("a value of the table {table} could not be sealed anew")]
    Seal {
        table: &'static str,
        #[source]
        source: SealError,
    },
}

/// A row's primary key, and what it holds in each column.
type Found = (Vec<String>, Vec<Option<Zeroizing<Vec<u8>>>>);

impl Secrets {
    /// Which of them the first schema had, in plain text.
    pub(crate) fn are_of_first_schema(&self) -> bool {
        !matches!(self.table, "registration_records" | "linked_hubs" | "tpm_challenges")
    }

    /// How many rows hold one.
    pub(crate) fn count(&self, connection: &Connection) -> Result<u64> {
        let sql = format!("SELECT COUNT(*) FROM {} WHERE {}", self.table, self.any(""));
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// Reads every secret and writes what `seal` makes of it; `done` is told after each page how
    /// many rows it had. Returns how many rows there were. The caller holds the transaction.
    pub(crate) fn rewrite(
        &self,
        connection: &Connection,
        from: Source,
        mut seal: impl FnMut(Place<'_>, &str, &[u8]) -> std::result::Result<Vec<u8>, SealError>,
        mut done: impl FnMut(u64),
    ) -> std::result::Result<u64, RewriteError> {
        let mut update = connection.prepare(&self.update())?;
        let mut after: Option<Vec<String>> = None;
        let mut n_rows = 0;
        loop {
            let page = self.page(connection, from, after.as_deref())?;
            for (key, secrets) in &page {
                let parts: Vec<&str> = key.iter().map(String::as_str).collect();
                let place = Place::new(self.table, &parts);
                let mut sealed: Vec<Option<Vec<u8>>> = Vec::with_capacity(secrets.len());
                for (column, secret) in self.columns.iter().zip(secrets) {
                    let secret = secret.as_ref().map(|secret| seal(place, column, secret));
                    let failed = |source| RewriteError::Seal { table: self.table, source };
                    sealed.push(secret.transpose().map_err(failed)?);
                }
                let values: Vec<&dyn ToSql> = key
                    .iter()
                    .map(|part| part as &dyn ToSql)
                    .chain(sealed.iter().map(|value| value as &dyn ToSql))
                    .collect();
                update.execute(values.as_slice())?;
            }
            n_rows += page.len() as u64;
            done(page.len() as u64);
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(n_rows),
            }
        }
    }

    fn page(
        &self,
        connection: &Connection,
        from: Source,
        after: Option<&[String]>,
    ) -> Result<Vec<Found>> {
        let n_key = self.key.len();
        let key = self.key.join(", ");
        let (table, prefix) = match from {
            Source::Sealed => (self.table, ""),
            Source::Plain if self.table == "access_policies" => ("plain_access_policies", ""),
            Source::Plain => (self.table, "plain_"),
        };
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{prefix}{column}")).collect();
        let any = self.any(prefix);
        let beyond = match after {
            Some(_) => format!("({key}) > ({}) AND ", parameters(1, n_key)),
            None => String::new(),
        };
        let sql = format!(
            "SELECT {key}, {} FROM {table} WHERE {beyond}({any}) ORDER BY {key} LIMIT {PAGE}",
            columns.join(", "),
        );
        let read = |row: &Row<'_>| {
            let key = (0..n_key).map(|at| row.get(at)).collect::<Result<Vec<String>>>()?;
            let secrets = (n_key..n_key + columns.len())
                .map(|at| {
                    Ok(match row.get_ref(at)? {
                        ValueRef::Null => None,
                        value => Some(Zeroizing::new(value.as_bytes()?.to_vec())),
                    })
                })
                .collect::<Result<_>>()?;
            Ok((key, secrets))
        };
        let after = rusqlite::params_from_iter(after.unwrap_or_default());
        connection.prepare_cached(&sql)?.query_map(after, read)?.collect()
    }

    /// The condition that a row holds a secret.
    fn any(&self, prefix: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{prefix}{column} IS NOT NULL")).collect();
        columns.join(" OR ")
    }

    /// Writes the columns of a row: first its key, then the values.
    fn update(&self) -> String {
        let n_key = self.key.len();
        let set: Vec<String> = (n_key + 1..)
            .zip(self.columns)
            .map(|(at, column)| format!("{column} = ?{at}"))
            .collect();
        let key: Vec<String> =
            (1..).zip(self.key).map(|(at, column)| format!("{column} = ?{at}")).collect();
        format!("UPDATE {} SET {} WHERE {}", self.table, set.join(", "), key.join(" AND "))
    }
}

fn parameters(first: usize, n: usize) -> String {
    let parameters: Vec<String> = (first..first + n).map(|at| format!("?{at}")).collect();
    parameters.join(", ")
}
