//! `induct hub connection-string show`

use clap::Subcommand;
use model::Json;
use wire::connection_string::ConnectionString;

use crate::cli::{
    answer::{Answer, Sheet},
    api::Api,
    document::members,
};

/// The connection string of the hub.
#[derive(Debug, Subcommand)]
pub(super) enum HubConnectionString {
    /// Print the owner's connection string of the hub, key included.
    #[command(after_help = "Examples:
  induct hub connection-string show
  induct hub connection-string show -n hub-1

For other policies and keys: induct connection-string show --hub NAME --pn POLICY.")]
    Show,
}

impl HubConnectionString {
    pub(super) fn answer(&self, api: &Api) -> Answer {
        let Self::Show = self;
        let login = api.login();
        let text = ConnectionString {
            host_name: login.authority(),
            key_name: login.policy.clone(),
            key: login.key.clone(),
        };
        let json = members([("connectionString", Json::String(text.reveal()))]);
        Answer::new(json, Sheet::Plain)
    }
}
