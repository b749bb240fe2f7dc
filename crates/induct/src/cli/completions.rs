//! `induct completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Context, Failure};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct completions bash > ~/.local/share/bash-completion/completions/induct
  induct completions zsh > \"${fpath[1]}/_induct\"
  induct completions fish > ~/.config/fish/completions/induct.fish")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "induct", &mut script);
        Ok(context.out.write_all(&script)?)
    }
}
