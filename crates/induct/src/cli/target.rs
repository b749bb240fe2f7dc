//! Which server a command is about: the options that may stand anywhere behind it.

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Context, Failure, answer::Answer, api::Api, block_on, complaint::Complaint};
use crate::login::{Login, LoginArgs};

/// A provisioning service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceTarget(ServiceOptions);

/// A provisioning service, for commands where `-n` is the name of something else.
#[derive(Debug, Clone)]
pub(crate) struct LongServiceTarget(LongServiceOptions);

/// A hub.
#[derive(Debug, Clone)]
pub(crate) struct HubTarget(HubOptions);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reaching the server")]
struct ServiceOptions {
    #[command(flatten)]
    login: LoginArgs,
    /// Accepted as in the vendor's tutorials and not needed: --login or --data says which service
    /// is meant.
    #[arg(short = 'n', long, value_name = "NAME")]
    dps_name: Option<String>,
    #[command(flatten)]
    vendor: VendorOptions,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reaching the server")]
struct LongServiceOptions {
    #[command(flatten)]
    login: LoginArgs,
    /// Accepted as in the vendor's tutorials and not needed: --login or --data says which service
    /// is meant.
    #[arg(long, value_name = "NAME")]
    dps_name: Option<String>,
    #[command(flatten)]
    vendor: VendorOptions,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reaching the server")]
struct HubOptions {
    #[command(flatten)]
    login: LoginArgs,
    /// The hub, by name or host name; needed when the server has several.
    #[arg(short = 'n', long, visible_alias = "hub", value_name = "NAME")]
    hub_name: Option<String>,
    #[command(flatten)]
    vendor: VendorOptions,
}

/// Options of the vendor's that mean nothing on one's own machine.
#[derive(Debug, Clone, Args)]
struct VendorOptions {
    /// Accepted as in the vendor's tutorials and not needed: there are no resource groups here.
    #[arg(short = 'g', long, value_name = "NAME")]
    resource_group: Option<String>,
    /// Accepted as in the vendor's tutorials and not needed: a policy's key is always used.
    #[arg(long, value_name = "TYPE", value_parser = ["key", "login"])]
    auth_type: Option<String>,
}

impl ServiceTarget {
    /// Asks the provisioning service, and prints what it answered.
    ///
    /// # Errors
    /// There is no server, or it refused.
    pub(super) fn run(
        self,
        context: &mut Context<'_>,
        work: impl AsyncFnOnce(&Api) -> Result<Option<Answer>, Complaint>,
    ) -> Result<(), Failure> {
        let Self(ServiceOptions { login, .. }) = self;
        let (answer, notes) = context.block_on(async {
            let login = Login::find_service(&login, context.environment).await?;
            let api = Api::of_service(login, context.draws_progress())?;
            let answer = work(&api).await?;
            Ok((answer, api.take_notes()))
        })?;
        print(context, answer, &notes)
    }

    /// Asks the provisioning service several things, for what prints as it goes.
    ///
    /// # Errors
    /// There is no server, it refused, or standard output is gone.
    pub(super) fn follow(
        self,
        context: &mut Context<'_>,
        work: impl AsyncFnOnce(&Api, &mut Context<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self(ServiceOptions { login, .. }) = self;
        block_on(async {
            let login = Login::find_service(&login, context.environment).await?;
            let api = Api::of_service(login, context.draws_progress())?;
            work(&api, context).await
        })
    }

    /// As [`run`](Self::run), and before that says what there is to warn of. Nobody asks for it
    /// where only errors are wanted.
    ///
    /// # Errors
    /// There is no server, or it refused.
    pub(super) fn run_warned(
        self,
        context: &mut Context<'_>,
        warnings: impl AsyncFnOnce(&Api) -> Vec<String>,
        work: impl AsyncFnOnce(&Api) -> Result<Option<Answer>, Complaint>,
    ) -> Result<(), Failure> {
        self.follow(context, async |api, context| {
            if !context.global.only_show_errors {
                for warning in warnings(api).await {
                    context.note(&warning);
                }
            }
            let answer = work(api).await?;
            print(context, answer, &api.take_notes())
        })
    }

    /// Prints what needed no server.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(super) fn offline(self, context: &mut Context<'_>, answer: Answer) -> Result<(), Failure> {
        print(context, Some(answer), &[])
    }
}

impl LongServiceTarget {
    /// As [`ServiceTarget::run_warned`].
    ///
    /// # Errors
    /// There is no server, or it refused.
    pub(super) fn run_warned(
        self,
        context: &mut Context<'_>,
        warnings: impl AsyncFnOnce(&Api) -> Vec<String>,
        work: impl AsyncFnOnce(&Api) -> Result<Option<Answer>, Complaint>,
    ) -> Result<(), Failure> {
        let Self(LongServiceOptions { login, dps_name, vendor }) = self;
        let target = ServiceTarget(ServiceOptions { login, dps_name, vendor });
        target.run_warned(context, warnings, work)
    }
}

impl HubTarget {
    /// Asks the hub, and prints what it answered.
    ///
    /// # Errors
    /// There is no server or no such hub, or it refused.
    pub(super) fn run(
        self,
        context: &mut Context<'_>,
        work: impl AsyncFnOnce(&Api) -> Result<Option<Answer>, Complaint>,
    ) -> Result<(), Failure> {
        let Self(HubOptions { login, hub_name, .. }) = self;
        let (answer, notes) = context.block_on(async {
            let login = Login::find_hub(&login, hub_name.as_deref(), context.environment).await?;
            let api = Api::of_hub(login, context.draws_progress())?;
            let answer = work(&api).await?;
            Ok((answer, api.take_notes()))
        })?;
        print(context, answer, &notes)
    }

    /// Listens to the hub, for what prints as it comes.
    ///
    /// # Errors
    /// There is no server or no such hub, it refused, or standard output is gone.
    pub(super) fn follow(
        self,
        context: &mut Context<'_>,
        work: impl AsyncFnOnce(&Api, &mut Context<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self(HubOptions { login, hub_name, .. }) = self;
        block_on(async {
            let login = Login::find_hub(&login, hub_name.as_deref(), context.environment).await?;
            let api = Api::of_hub(login, false)?;
            work(&api, context).await
        })
    }
}

fn print(
    context: &mut Context<'_>,
    answer: Option<Answer>,
    notes: &[String],
) -> Result<(), Failure> {
    if let Some(answer) = answer {
        answer.print(context.global.output.unwrap_or_default(), context.out)?;
    }
    for note in notes {
        context.note(note);
    }
    Ok(())
}

/// Adds the options of `T` as global ones, so that they may stand behind the last word of a
/// command, where tutorials have them.
fn with_global_options<T: Args>(command: Command) -> Command {
    let options = T::augment_args(Command::new("options"));
    options
        .get_arguments()
        .fold(command, |command, option| command.arg(option.clone().global(true)))
}

macro_rules! global_options {
    ($target:ident, $options:ident) => {
        impl Args for $target {
            fn augment_args(command: Command) -> Command {
                with_global_options::<$options>(command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                with_global_options::<$options>(command)
            }
        }

        impl FromArgMatches for $target {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                $options::from_arg_matches(matches).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0.update_from_arg_matches(matches)
            }
        }
    };
}

global_options!(ServiceTarget, ServiceOptions);
global_options!(LongServiceTarget, LongServiceOptions);
global_options!(HubTarget, HubOptions);
