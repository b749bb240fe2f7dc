//! `induct device …`: what is said to devices (O §4.4), and devices that are none.

mod c2d_message;
mod simulate;

use clap::{Args, Subcommand};

use super::{Context, Failure};

/// Send messages to devices, and simulate devices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct device c2d-message send -d press-17 --da 'open the door'
  induct device c2d-message purge -d press-17
  induct device simulate --count 100 --rate 5 --duration 60")]
pub struct Device {
    #[command(subcommand)]
    command: DeviceCommand,
}

/// What to do with a device.
#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Messages that wait at the hub until the device takes them.
    C2dMessage(Box<c2d_message::C2dMessage>),
    /// Simulate devices: they are provisioned, connect, report, and answer methods.
    Simulate(Box<simulate::Simulate>),
}

impl Device {
    /// Does it.
    ///
    /// # Errors
    /// What the options lack, or what the server answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        match self.command {
            DeviceCommand::C2dMessage(command) => command.run(context),
            DeviceCommand::Simulate(command) => command.run(context),
        }
    }
}
