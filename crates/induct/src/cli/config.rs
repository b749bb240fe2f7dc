//! `induct config show` and `induct config check`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Failure, Output, Place};
use crate::config::{self, Loaded};

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting in use. As TOML it can be kept as a configuration file; `-o table` says
    /// where each value comes from.
    #[command(after_help = "Examples:
  induct config show > induct.toml      Start a configuration file from what is in use.
  induct config show -o table           Which value comes from where?")]
    Show(Place),
    /// Check the configuration and print all its problems, without starting anything.
    #[command(after_help = "Example:
  induct config check --config /etc/induct/induct.toml && systemctl restart induct")]
    Check(Place),
}

impl Config {
    /// Shows or checks.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let (Self::Show(place) | Self::Check(place)) = &self;
        let loaded = config::load(&place.given(), context.environment)?;
        match self {
            Self::Check(_) => check(&loaded, context),
            Self::Show(_) => show(&loaded, context),
        }
    }
}

fn check(loaded: &Loaded, context: &mut Context<'_>) -> Result<(), Failure> {
    let name = match &loaded.file {
        Some(file) => file.display().to_string(),
        None => "configuration (no file, all defaults)".to_owned(),
    };
    Ok(writeln!(context.out, "{name}: no problems")?)
}

fn show(loaded: &Loaded, context: &mut Context<'_>) -> Result<(), Failure> {
    match context.global.output {
        None => Ok(write!(context.out, "{}", config::to_toml(&loaded.settings))?),
        Some(Output::Json) => {
            let mut sections = serde_json::Map::new();
            for setting in &loaded.settings {
                let value = serde_json::to_value(&setting.value)?;
                insert(&mut sections, &setting.path, value);
            }
            Ok(context.printer().print(&Value::Object(sections))?)
        }
        Some(Output::Table) => {
            let rows = loaded.settings.iter().map(|setting| {
                json!({
                    "setting": setting.path,
                    "value": setting.value.to_string(),
                    "from": setting.origin.to_string(),
                })
            });
            Ok(context.printer().print(&Value::Array(rows.collect()))?)
        }
    }
}

/// Puts `hubs[0].host` into the first element of the list `hubs`, and `log.level` into `log`.
fn insert(sections: &mut serde_json::Map<String, Value>, path: &str, value: Value) {
    let Some((section, key)) = path.split_once('.') else { return };
    let slot = match section.split_once('[') {
        None => sections.entry(section).or_insert_with(|| json!({})),
        Some((list, index)) => {
            let Value::Array(elements) = sections.entry(list).or_insert_with(|| json!([])) else {
                return;
            };
            let index: usize = index.trim_end_matches(']').parse().unwrap_or_default();
            if index >= elements.len() {
                elements.push(json!({}));
            }
            let last = elements.len() - 1;
            &mut elements[index.min(last)]
        }
    };
    if let Value::Object(members) = slot {
        members.insert(key.to_owned(), value);
    }
}
