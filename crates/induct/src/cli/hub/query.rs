//! `induct hub query`

use clap::Args;
use model::Json;

use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, Top},
    complaint::Complaint,
    document::members,
};

/// Ask a hub about its devices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct hub query -q \"SELECT * FROM devices WHERE status = 'disabled'\"
  induct hub query -q \"SELECT deviceId, tags FROM devices WHERE tags.line = 4\" -o table
  induct hub query -q \"SELECT COUNT() AS n FROM devices\"")]
pub(super) struct Query {
    /// The question, in the query language of hubs.
    #[arg(short = 'q', long = "query-command", value_name = "QUERY")]
    query_command: String,
    #[command(flatten)]
    top: Top,
}

impl Query {
    pub(super) async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let found = api.list("/devices/query", Some(&body(&self.query_command)), self.top).await?;
        let whole_twins = match &found {
            Json::Array(rows) => {
                rows.first().is_some_and(|row| row.get("authenticationType").is_some())
            }
            _ => false,
        };
        Ok(Answer::new(found, if whole_twins { Sheet::Twins } else { Sheet::Plain }))
    }
}

/// The body of a query.
pub(super) fn body(text: &str) -> Json {
    members([("query", Json::from(text))])
}
