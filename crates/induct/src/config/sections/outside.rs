//! What comes from outside or goes there: the master key, webhooks, hubs that are not built in.

use store_sqlite::MasterKey;

use super::secs;
use crate::{
    config::{
        Crls, MasterKeySource, Problem, RemoteHubs, Webhook,
        reader::{Reader, Section},
    },
    ports::Environment,
};

/// The variable that may hold the master key itself.
const MASTER_KEY: &str = "INDUCT_MASTER_KEY";

/// At most one place may be named; which of two is meant cannot be guessed, and a wrong guess
/// would seal secrets with the wrong key.
pub(super) fn secrets(reader: &mut Reader, environment: &Environment) -> MasterKeySource {
    let named = reader.section("secrets", |section| {
        let file = section.path("master_key_file").map(MasterKeySource::File);
        let command = section.checked("master_key_command", "", |text| Ok(text.to_owned()));
        let command = (!command.is_empty()).then_some(MasterKeySource::Command(command));
        if file.is_some() && command.is_some() {
            let text = "stands beside master_key_file; keep the one that holds the master key";
            section.problem("master_key_command", text);
        }
        file.or(command)
    });
    let Some(text) = environment.find(MASTER_KEY) else {
        return named.unwrap_or(MasterKeySource::DataFolder);
    };
    let mut problem = |text: String| {
        let path = MASTER_KEY.to_owned();
        reader.other_problem(Problem { in_environment: true, path, text });
    };
    if named.is_some() {
        problem(
            "stands beside a setting in [secrets]; keep the one that holds the master key"
                .to_owned(),
        );
    }
    match MasterKey::parse(text) {
        Ok(key) => MasterKeySource::Environment(key),
        Err(bad) => {
            problem(bad.to_string());
            MasterKeySource::DataFolder
        }
    }
}

pub(super) fn webhook(section: &mut Section<'_>) -> Webhook {
    Webhook {
        allow_http_on_loopback: section.flag("allow_http_on_loopback", false),
        timeout: secs(section, "timeout_secs", 5, 1, 10),
        ca_file: section.path("ca_file"),
    }
}

pub(super) fn crls(section: &mut Section<'_>) -> Crls {
    Crls {
        allow_http: section.flag("allow_http", false),
        allow_private_addresses: section.flag("allow_private_addresses", false),
        timeout: secs(section, "timeout_secs", 60, 1, 240),
        ca_file: section.path("ca_file"),
    }
}

pub(super) fn remote_hubs(section: &mut Section<'_>) -> RemoteHubs {
    RemoteHubs {
        ca_file: section.path("ca_file"),
        // Both together stay below a third of the time one attempt may take.
        connect_timeout: secs(section, "connect_timeout_secs", 5, 1, 5),
        request_timeout: secs(section, "request_timeout_secs", 10, 1, 14),
        deadline_secs: section.integer("deadline_secs", 24 * 3600, 60..=30 * 24 * 3600),
        max_at_once: section.count("max_at_once", 16, 1..=256),
    }
}
