//! `induct top-refused`: who is refused most.

use clap::{Args, ValueEnum};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{own_path, with_options},
    target::ServiceTarget,
};

/// Show which devices and addresses are refused most, and why they were last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct top-refused -o table
  induct top-refused --of addresses --top 5 -o table
  induct explain --registration-id press-17 -o table     Why one of them is refused.

Counted since the server was started, 1,024 devices and as many addresses at a time; where there were
more, a count may be too high by what mayBeLessBy says.")]
pub struct TopRefused {
    #[command(flatten)]
    target: ServiceTarget,
    /// How many of each.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    top: u16,
    /// Only these, as a list.
    #[arg(long, value_enum, value_name = "WHO")]
    of: Option<Of>,
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Devices, by the registration ID they ask under.
    Devices,
    /// Addresses.
    Addresses,
}

impl TopRefused {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, top, of } = self;
        let is_table = context.is_table();
        target.run(context, async |api| {
            let top = top.to_string();
            let path = with_options(&own_path(["topRefused"]), &[("top", Some(&top))]);
            let json = api.get(&path).await?;
            let part = |name: &str| json.get(name).cloned().unwrap_or(Json::Array(Vec::new()));
            let shown = match of {
                Some(Of::Devices) => part("devices"),
                Some(Of::Addresses) => part("addresses"),
                // A table has both, one below the other.
                None if is_table => match (part("devices"), part("addresses")) {
                    (Json::Array(mut devices), Json::Array(addresses)) => {
                        devices.extend(addresses);
                        Json::Array(devices)
                    }
                    (devices, _) => devices,
                },
                None => json,
            };
            Ok(Some(Answer::new(shown, Sheet::RefusedOften)))
        })
    }
}
