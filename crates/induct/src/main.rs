//! The `induct` binary: arguments and environment in, an exit code out.

use std::process::ExitCode;

use induct::{cli, ports::Environment};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &Environment::of_process())
}
