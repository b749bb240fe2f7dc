//! The command line: what a person types, and what comes of it.
//!
//! Names, flags and messages follow the vendor's tool, so that its tutorials work with `induct` in
//! place of `az iot` (O §4). Exit codes: 0 done, 1 failed, 2 used wrongly, 3 not found.

pub(crate) mod answer;
pub(crate) mod api;
mod attempt;
mod audit;
mod backup;
mod ban;
mod certificate;
pub(crate) mod complaint;
mod completions;
mod config;
mod connection_string;
mod crl;
mod demo;
mod deprovision;
mod device;
pub(crate) mod document;
mod enrollment;
mod enrollment_group;
mod explain;
mod failure;
mod hub;
mod input;
mod ip_rule;
mod linked_hub;
mod output;
mod policy;
mod receipt;
mod registration;
mod rekey;
mod serve;
mod service;
mod simulate_change;
mod target;
mod top_refused;
mod tpm;
mod words;

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

pub use failure::Failure;
pub use output::{Output, Printer};

use crate::{
    config::{Config, Given, LogFormat, LogLevel},
    ports::Environment,
};

/// Device provisioning on your own machines.
#[derive(Debug, Parser)]
#[command(
    name = "induct",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:
  induct demo                                   See it work, in a temporary folder.
  induct serve                                  Start a server on 127.0.0.1:8443.
  induct connection-string show                 Print what tools need to manage it.
  induct connection-string show --hub hub-1     The same for a built-in hub.
  induct enrollment create --eid press-17 --at symmetricKey
  induct enrollment-group create --gid line-4 --cp intermediate.pem
  induct crl follow plant-ca https://crl.example/plant.crl
  induct ban add --rid press-17 --reason stolen  Keep a device out, whatever its enrollment says.
  induct deprovision --rid press-17 --intent revoke
  induct simulate-change enrollment-group delete line-4
  induct explain --rid press-17 -o table        Why is it admitted or refused?
  induct top-refused -o table                   Who is refused again and again.
  induct tpm show                               What this machine's TPM is enrolled by.
  induct registration orphans list -o table     Records that deleted groups left behind.
  induct hub device-identity list -o table
  induct hub monitor-events                     Watch what devices send.
  induct device c2d-message send -d press-17 --da hello
  induct device simulate --count 100           A hundred devices that report.
  induct linked-hub create --connection-string @plant.txt
  induct policy create --pn ci --rights EnrollmentRead
  induct audit list -o table
  induct backup /backups/induct-monday.db       Copy the database while the server runs.

The words `iot` and `dps` may stand in front of a command, as in the vendor's tutorials:
  induct iot dps connection-string show

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 not found."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// How answers are printed [default: json].
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Print no warnings and no progress, only errors.
    #[arg(long, global = true)]
    pub only_show_errors: bool,
    /// Say more of what happens, on standard error.
    #[arg(short, long, global = true, conflicts_with = "only_show_errors")]
    pub verbose: bool,
}

/// Where the configuration and the data are.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// The configuration file [default: $INDUCT_CONFIG, ./induct.toml, or induct.toml in the data
    /// folder, where they exist].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder [default: $INDUCT_DATA__FOLDER, or what the configuration says, or
    /// ~/.local/share/induct].
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}

impl Place {
    /// As the configuration wants it.
    #[must_use]
    pub fn given(&self) -> Given {
        Given { config: self.config.clone(), data: self.data.clone() }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server and keep it running until SIGTERM or Ctrl-C.
    Serve(serve::Serve),
    /// Watch devices being provisioned, one of them shut out, and play with the running service.
    Demo(demo::Demo),
    /// Manage individual enrollments: what you promise about one device.
    Enrollment(enrollment::Enrollment),
    /// Manage enrollment groups: what you promise about a family of devices.
    EnrollmentGroup(enrollment_group::EnrollmentGroup),
    /// Enroll TPMs: what one of them shows, certificates of their vendors, groups of TPMs.
    Tpm(tpm::Tpm),
    /// Manage registration records, those that deleted groups left behind above all.
    Registration(registration::Registration),
    /// Manage the devices of a hub: identities, twins, events, methods, queries.
    Hub(hub::Hub),
    /// Send messages to devices, and simulate devices.
    Device(device::Device),
    /// Show the service's settings.
    Show(service::Show),
    /// Change the service's settings; what you do not name stays as it is.
    Update(service::Update),
    /// Keep devices out, whatever their enrollments say.
    Ban(ban::Ban),
    /// Say what a change would mean for the devices that are known, and change nothing.
    SimulateChange(simulate_change::SimulateChange),
    /// Keep devices out whose certificates their CA has revoked.
    Crl(crl::Crl),
    /// Take devices out: out of enrollments, off all hubs, off the line, as one act.
    Deprovision(deprovision::Deprovision),
    /// Let suspended devices in again.
    Reinstate(deprovision::Reinstate),
    /// Look at what became of deprovisioned devices, and at plans.
    Receipt(receipt::Receipt),
    /// Say why a device is admitted or refused, step by step, and what to change.
    Explain(explain::Explain),
    /// Look at what devices asked for, what they showed, and why they were admitted or refused.
    Attempt(attempt::Attempt),
    /// Show which devices and addresses are refused most, and why they were last.
    TopRefused(top_refused::TopRefused),
    /// Manage linked hubs: where devices can be assigned.
    LinkedHub(linked_hub::LinkedHub),
    /// Manage CA certificates: the authorities that groups refer to by name.
    Certificate(certificate::Certificate),
    /// Manage shared access policies: who may manage the service, and what they may do.
    #[command(visible_alias = "access-policy")]
    Policy(policy::Policy),
    /// Manage IP rules: from which addresses the service can be used.
    IpRule(ip_rule::IpRule),
    /// Show how much there is of what is limited.
    Usage(service::Usage),
    /// Look at what operators changed, and check that nobody changed the log.
    Audit(audit::Audit),
    /// Print connection strings of the provisioning service or of a hub.
    #[command(subcommand)]
    ConnectionString(connection_string::ConnectionString),
    /// Copy the database into a file, also while a server uses it.
    Backup(backup::Backup),
    /// Seal all secrets in the database anew, under another master key. No server may run.
    Rekey(rekey::Rekey),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

/// What every command is handed.
pub struct Context<'a> {
    /// The environment of the process.
    pub environment: &'a Environment,
    /// Options of every command.
    pub global: &'a Global,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Context<'_> {
    /// Prints answers in the format that was asked for.
    pub fn printer(&mut self) -> Printer<'_> {
        Printer::new(self.global.output.unwrap_or_default(), self.out)
    }

    /// Says something that is no answer, unless only errors are wanted.
    pub fn note(&mut self, text: &str) {
        if !self.global.only_show_errors {
            // Nobody may be listening, and the answer does not depend on it.
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Whether answers are printed as tables.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.global.output == Some(Output::Table)
    }

    /// Whether progress may be drawn.
    #[must_use]
    pub fn draws_progress(&self) -> bool {
        !self.global.only_show_errors && io::stderr().is_terminal()
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// All its problems.
    pub fn load_config(&self, place: &Place) -> Result<Config, Failure> {
        Ok(crate::config::load(&place.given(), self.environment)?.config)
    }

    /// Runs something that waits, on this thread.
    ///
    /// # Errors
    /// What it fails with, or that no runtime could be started.
    pub fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        block_on(work)
    }
}

/// Runs something that waits, on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let cli = match Cli::try_parse_from(words::without_leading(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is a mistake of the caller's.
            let _ = error.print();
            let is_answer =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if is_answer { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    let Cli { global, command } = cli;
    if !matches!(command, Command::Serve(_)) {
        let level = match (global.only_show_errors, global.verbose) {
            (true, _) => LogLevel::Error,
            (false, true) => LogLevel::Debug,
            (false, false) => LogLevel::Warn,
        };
        crate::log::start(&crate::config::Log { level, format: LogFormat::Text });
    }
    let mut context = Context { environment, global: &global, out: &mut out, err: &mut err };
    let outcome = match command {
        Command::Serve(command) => command.run(&mut context),
        Command::Demo(command) => command.run(&mut context),
        Command::Enrollment(command) => command.run(&mut context),
        Command::EnrollmentGroup(command) => command.run(&mut context),
        Command::Tpm(command) => command.run(&mut context),
        Command::Registration(command) => command.run(&mut context),
        Command::Hub(command) => command.run(&mut context),
        Command::Device(command) => command.run(&mut context),
        Command::Show(command) => command.run(&mut context),
        Command::Update(command) => command.run(&mut context),
        Command::Ban(command) => command.run(&mut context),
        Command::SimulateChange(command) => command.run(&mut context),
        Command::Crl(command) => command.run(&mut context),
        Command::Deprovision(command) => command.run(&mut context),
        Command::Reinstate(command) => command.run(&mut context),
        Command::Receipt(command) => command.run(&mut context),
        Command::Explain(command) => command.run(&mut context),
        Command::Attempt(command) => command.run(&mut context),
        Command::TopRefused(command) => command.run(&mut context),
        Command::LinkedHub(command) => command.run(&mut context),
        Command::Certificate(command) => command.run(&mut context),
        Command::Policy(command) => command.run(&mut context),
        Command::IpRule(command) => command.run(&mut context),
        Command::Usage(command) => command.run(&mut context),
        Command::Audit(command) => command.run(&mut context),
        Command::ConnectionString(command) => command.run(&mut context),
        Command::Backup(command) => command.run(&mut context),
        Command::Rekey(command) => command.run(&mut context),
        Command::Config(command) => command.run(&mut context),
        Command::Completions(command) => command.run(&mut context),
    };
    let outcome = outcome.and_then(|()| out.flush().map_err(Failure::from));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = failure.print(&mut err);
            failure.exit_code()
        }
    }
}
