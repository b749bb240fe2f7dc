//! `induct device simulate`: as many devices as you like.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use clap::{ArgAction, Args, ValueEnum, builder::NonEmptyStringValueParser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Json, RegistrationId, SymmetricKey};

use crate::{
    cli::{
        Context, Failure, Output,
        answer::pretty,
        api::{Api, own_path},
        input::{switch, text},
    },
    config,
    data_folder::{DataFolder, Listening},
    login::{Login, LoginArgs},
    serve::{Signals, raise_descriptors},
    simulate::{
        self, Authority, Credentials, Endpoint, Figures, Group, Habits, Network, Over, Plan, Ran,
        Removed, Site, Summary, World,
    },
};

/// The port of MQTT, where nobody says otherwise.
const MQTT_PORT: u16 = 8883;
/// How many files a process has open by itself.
const N_OWN_FILES: usize = 64;
/// The longest common name of a certificate, in characters (RFC 5280, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// Simulate devices: they are provisioned, connect to their hubs, report, and answer methods.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct device simulate                                   Ten devices, until Ctrl-C.
  induct device simulate --count 100 --rate 5 --duration 60
  induct device simulate --count 20 --messages 10          Ten messages each, then a summary.
  induct device simulate --count 50 --attestation x509 --provision-with mqtt --websocket
  induct device simulate --count 5000 --rate 0 --ramp-up 200
      Devices that are connected and silent.
  induct device simulate --enrollment-group line-5 --id-prefix press
      Devices of a group that you have; nothing is removed afterwards.
  induct device simulate --ca-cert line-4.pem --ca-key line-4.key
      Certificates made by your CA, for whichever group names it.
  induct device simulate --count 20 --messages 10 --json   The summary for programs.

While they run, look at them from another terminal:
  induct hub monitor-events
  induct hub invoke-device-method -d ID --mn anything
  induct hub device-identity update -d ID --status disabled

Unless a group's key or CA is given, an enrollment group is made for them, and at the end it is
removed together with their registration records and device identities.

Each device registers, asks at once what became of it, and connects; one that loses its connection
comes back after one second, then two, up to thirty, and asks provisioning again when its hub
refuses it. A device that provisioning refuses gives up.

Exit codes: 0 when every device that began was connected to the end, 1 when some were not.")]
pub(super) struct Simulate {
    /// How many devices.
    #[arg(short = 'c', long, value_name = "N", default_value = "10")]
    count: NonZeroUsize,
    /// What devices prove themselves with [default: symmetric-key, or what the group has].
    #[arg(long, visible_alias = "at", value_enum, value_name = "MECHANISM")]
    attestation: Option<Attestation>,
    /// What devices speak while they are provisioned; to their hubs they speak MQTT.
    #[arg(long, value_enum, value_name = "PROTOCOL", default_value = "https")]
    provision_with: Protocol,
    /// Speak MQTT in WebSockets, at the HTTPS port.
    #[arg(long)]
    websocket: bool,
    #[command(flatten)]
    group: GroupOptions,
    /// What the devices' names begin with; a dash and a number follow [default: the group's name].
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    id_prefix: Option<String>,
    #[command(flatten)]
    work: WorkOptions,
    /// How many devices begin each second.
    #[arg(long, value_name = "N", default_value = "100", value_parser = above_zero)]
    ramp_up: f64,
    /// Come back when a connection is lost or refused.
    #[arg(long, value_name = "BOOL", default_value = "true", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    reconnect: bool,
    /// Print the summary as JSON; as `--output json`.
    #[arg(long)]
    json: bool,
    /// The port of MQTT [default: what the server on this machine has, or 8883].
    #[arg(long, value_name = "PORT", conflicts_with = "websocket")]
    mqtt_port: Option<u16>,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Debug, Args)]
struct GroupOptions {
    /// The enrollment group. One that exists is used with its key and is never removed; one that
    /// does not is made [default: a new one, `simulated-` and a random number].
    #[arg(long, visible_aliases = ["gid", "group-id"], value_name = "NAME",
          value_parser = NonEmptyStringValueParser::new())]
    enrollment_group: Option<String>,
    /// The key of a group that exists, base64.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["ca_cert", "ca_key"])]
    key: Option<String>,
    /// The certificate of the CA of a group that exists, PEM. Certificates above it may follow;
    /// devices send them along.
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The private key of that CA, PEM, unencrypted.
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Leave the group, the registration records and the device identities where they are.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct WorkOptions {
    /// How many messages each device sends a second; 0 for none.
    #[arg(long, value_name = "N", default_value = "1", value_parser = zero_or_more)]
    rate: f64,
    /// How many seconds from one message of a device to the next, instead of --rate.
    #[arg(long, visible_aliases = ["msg-interval", "mi"], value_name = "SECONDS",
          value_parser = above_zero, conflicts_with = "rate")]
    interval: Option<f64>,
    /// How many messages each device sends before it leaves [default: no end].
    #[arg(long, visible_aliases = ["msg-count", "mc"], value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// How many seconds the devices work, from the moment the last one has begun [default: until
    /// Ctrl-C].
    #[arg(long, value_name = "SECONDS", value_parser = above_zero)]
    duration: Option<f64>,
    /// How large a message is.
    #[arg(long, value_name = "N", default_value = "128",
          value_parser = clap::value_parser!(u32).range(0..=256 * 1024))]
    payload_bytes: u32,
    /// Whether messages are acknowledged (1) or not (0).
    #[arg(long, value_name = "0|1", default_value = "1",
          value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Answer calls of methods, of any name, with 200.
    #[arg(long, value_name = "BOOL", default_value = "true", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    answer_methods: bool,
    /// Report to the twin after each connect.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    report_twin: bool,
}

/// What devices prove themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Attestation {
    /// Keys derived from a group's key.
    #[value(alias = "symmetricKey")]
    SymmetricKey,
    /// Certificates of a CA.
    X509,
}

/// What devices speak while they are provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// HTTPS.
    Https,
    /// MQTT.
    Mqtt,
}

fn zero_or_more(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    number.ok_or_else(|| format!("`{text}` is not zero or a number above it"))
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = zero_or_more(text).ok().filter(|n| *n > 0.0);
    number.ok_or_else(|| format!("`{text}` is not a number above zero"))
}

impl WorkOptions {
    fn habits(&self) -> Habits {
        let secs = self.interval.or_else(|| (self.rate > 0.0).then(|| 1.0 / self.rate));
        Habits {
            interval: secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok()),
            n_messages: self.messages,
            // At most 256 KiB.
            payload_bytes: usize::try_from(self.payload_bytes).unwrap_or(usize::MAX),
            acknowledged: self.qos == 1,
            answer_methods: self.answer_methods,
            report_twin: self.report_twin,
        }
    }
}

impl Simulate {
    /// Runs the devices and tells what came of it.
    ///
    /// # Errors
    /// There is no server, it does not let a group be made, or some devices were not connected.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.simulate(context))
    }

    async fn simulate(self, context: &mut Context<'_>) -> Result<(), Failure> {
        if self.work.messages.is_some() && self.work.habits().interval.is_none() {
            return Err(Failure::Usage("--messages wants a --rate above 0.".to_owned()));
        }
        let mut signals = Signals::install()?;
        let login = Login::find_service(&self.login, context.environment).await?;
        let api = Api::of_service(login.clone(), false)?;
        let network = Network::new(self.site(&login, &api, context).await?)?;
        let group = self.group(&api).await?;
        let plan = self.plan(&group)?;
        self.make_room(&plan, context);
        let world = Arc::new(World {
            network,
            over: match self.provision_with {
                Protocol::Https => Over::Https,
                Protocol::Mqtt => Over::Mqtt,
            },
            habits: self.work.habits(),
            reconnect: self.reconnect,
            figures: Figures::default(),
        });
        context.note(&format!(
            "Devices {} to {} of the enrollment group `{}`{}; Ctrl-C ends.",
            plan.id(1),
            plan.id(plan.n_devices),
            group.id,
            if group.is_ours { ", made for them" } else { "" },
        ));
        let bar = progress_bar(context.draws_progress());
        let shared = tokio::sync::Mutex::new(&mut signals);
        let stop = async || {
            shared.lock().await.next().await;
        };
        let show = |figures: &Figures| bar.set_message(line(plan.n_devices, figures));
        let ran = simulate::run(&plan, &world, &group.credentials, stop, show).await;
        bar.finish_and_clear();
        let cleared = match &ran {
            _ if !group.is_ours || self.group.keep => Ok(()),
            Ok(ran) => {
                tokio::select! {
                    removed = self.remove(&group, &login, ran, context) => removed,
                    _ = signals.next() => Err(Failure::new(format!(
                        "Interrupted: what was made for the devices is still there, in part. Remove \
                         the enrollment group `{}` and the devices named `{}-…` by hand.",
                        group.id, plan.id_prefix,
                    ))),
                }
            }
            Err(_) => {
                group.remove(&login, &[], async |_| None).await.map(drop).map_err(Failure::from)
            }
        };
        let ran = ran?;
        let summary = Summary::new(&ran.ended, &world.figures, ran.took);
        if self.json || context.global.output == Some(Output::Json) {
            let mut json = summary.json();
            json.set("enrollmentGroup", Json::from(group.id.as_str()));
            json.set("idPrefix", Json::from(plan.id_prefix.as_str()));
            writeln!(context.out, "{}", pretty(&json))?;
        } else {
            writeln!(context.out, "{}", summary.text())?;
        }
        cleared?;
        if summary.n_failed > 0 {
            return Err(Failure::new(format!(
                "{} of {} devices were not connected at the end.",
                summary.n_failed, summary.n_devices
            )));
        }
        if ran.is_broken_off {
            return Err(Failure::new("Broken off before all devices had ended."));
        }
        Ok(())
    }

    /// Where devices find the server.
    async fn site(&self, login: &Login, api: &Api, context: &Context<'_>) -> Result<Site, Failure> {
        let local = match &self.login.login {
            None => self.listening(context)?,
            Some(_) => None,
        };
        let id_scope = match &local {
            Some(listening) => listening.id_scope.clone(),
            None => {
                let service = api.get(&own_path(["service"])).await?;
                let id_scope = service.get("idScope").and_then(Json::as_str);
                let missing = || Failure::new("The service does not tell its ID scope.");
                id_scope.ok_or_else(missing)?.to_owned()
            }
        };
        let mqtt = match (self.mqtt_port, &local, self.login.connect_to) {
            (None, Some(listening), None) => match listening.local_mqtt_address() {
                Some(address) => Endpoint { port: address.port(), address: Some(address) },
                None if self.websocket => Endpoint { port: MQTT_PORT, address: None },
                None => {
                    return Err(Failure::new(
                        "The server has no MQTT door (`listen.mqtt` is empty); use --websocket.",
                    ));
                }
            },
            (port, _, _) => {
                let port = port.unwrap_or(MQTT_PORT);
                let address = login.address.map(|address| (address.ip(), port).into());
                Endpoint { port, address }
            }
        };
        Ok(Site {
            service_host: login.host.clone(),
            id_scope,
            https: Endpoint { port: login.port, address: login.address },
            mqtt,
            in_websockets: self.websocket,
            ca_pem: login.ca_pem.clone(),
        })
    }

    /// What the server on this machine says of itself.
    fn listening(&self, context: &Context<'_>) -> Result<Option<Listening>, Failure> {
        let config = config::load(&self.login.place.given(), context.environment)?.config;
        Ok(DataFolder::new(&config.data_folder).running())
    }

    /// The group that was named, or a new one.
    async fn group(&self, api: &Api) -> Result<Group, Failure> {
        let GroupOptions { enrollment_group, key, ca_cert, ca_key, .. } = &self.group;
        let name = || enrollment_group.clone().unwrap_or_else(Group::new_name);
        if let Some(key) = key {
            self.expect(Attestation::SymmetricKey, "--key")?;
            let key = SymmetricKey::parse(key)
                .map_err(|bad| Failure::Usage(format!("--key is no key: {bad}.")))?;
            return Ok(Group { id: name(), credentials: Credentials::Key(key), is_ours: false });
        }
        if let (Some(certificate), Some(key)) = (ca_cert, ca_key) {
            self.expect(Attestation::X509, "--ca-cert")?;
            let authority =
                Authority::read(&text("--ca-cert", certificate)?, &text("--ca-key", key)?)?;
            let credentials = Credentials::Authority(Box::new(authority));
            return Ok(Group { id: name(), credentials, is_ours: false });
        }
        if let Some(id) = enrollment_group
            && let Some(group) = Group::find(api, id).await?
        {
            self.expect(Attestation::SymmetricKey, &format!("The enrollment group `{id}`"))?;
            return Ok(group);
        }
        let id = name();
        Ok(match self.attestation {
            Some(Attestation::X509) => {
                let now = app::ports::Clock::now(&crate::ports::SystemClock);
                let authority = Authority::root(&format!("Simulated CA of {id}"), 0, now)?;
                Group::create_with_authority(api, &id, authority).await?
            }
            Some(Attestation::SymmetricKey) | None => Group::create_with_key(api, &id).await?,
        })
    }

    /// `what` goes with this kind of attestation only.
    fn expect(&self, kind: Attestation, what: &str) -> Result<(), Failure> {
        if self.attestation.is_none_or(|asked| asked == kind) {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{what} does not go with the --attestation that was asked for."
        )))
    }

    fn plan(&self, group: &Group) -> Result<Plan, Failure> {
        let plan = Plan {
            n_devices: self.count.get(),
            id_prefix: self.id_prefix.clone().unwrap_or_else(|| group.id.clone()),
            ramp_up: self.ramp_up,
            duration: self.work.duration.and_then(|s| Duration::try_from_secs_f64(s).ok()),
        };
        let last = plan.id(plan.n_devices);
        RegistrationId::parse(&last)
            .map_err(|bad| Failure::Usage(format!("`{last}` can be no device's name: {bad}.")))?;
        if matches!(group.credentials, Credentials::Authority(_)) && last.len() > MAX_COMMON_NAME {
            return Err(Failure::Usage(format!(
                "`{last}` has more than the {MAX_COMMON_NAME} characters of a certificate's name; \
                 choose a shorter --id-prefix."
            )));
        }
        Ok(plan)
    }

    /// Each device needs a file descriptor.
    fn make_room(&self, plan: &Plan, context: &mut Context<'_>) {
        let needed = plan.n_devices.saturating_add(N_OWN_FILES);
        if let Some(limit) = raise_descriptors(needed)
            && limit < needed
        {
            context.note(&format!(
                "WARNING: This process may open {limit} files, and {} devices need {needed}; raise \
                 the limit (`ulimit -n`).",
                plan.n_devices
            ));
        }
    }

    /// Removes what was made for the devices.
    async fn remove(
        &self,
        group: &Group,
        login: &Login,
        ran: &Ran,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let bar = progress_bar(context.draws_progress());
        bar.set_message("Removing what was made for the devices");
        let environment = context.environment;
        let hub = async |host: &str| match &self.login.login {
            None => Login::find_hub(&self.login, Some(host), environment).await.ok(),
            // A connection string of the service says nothing about its hubs.
            Some(_) => None,
        };
        let removed = group.remove(login, &ran.ended, hub).await;
        bar.finish_and_clear();
        let Removed { n_records, n_identities, stay } = removed?;
        context.note(&format!(
            "Removed the enrollment group `{}`, {n_records} registration records and \
             {n_identities} device identities.",
            group.id
        ));
        for (host, n) in stay {
            context.note(&format!(
                "WARNING: {n} device identities stay in {host}: its keys are not known here. \
                 `induct hub device-identity delete --login …` removes them one by one."
            ));
        }
        Ok(())
    }
}

fn progress_bar(draws_progress: bool) -> ProgressBar {
    if !draws_progress {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4))
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn line(n_devices: usize, figures: &Figures) -> String {
    format!(
        "of {n_devices}: {} provisioned, {} connected · {} sent, {} acknowledged · {} reconnects, \
         {} refused, {} errors",
        figures.provisioned.get(),
        figures.connected.get(),
        figures.sent.get(),
        figures.acknowledged.get(),
        figures.reconnects.get(),
        figures.refused.get(),
        figures.errors.get(),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        simulate: Simulate,
    }

    fn read(arguments: &[&str]) -> Result<Simulate, clap::Error> {
        let arguments = ["simulate"].iter().chain(arguments);
        Line::try_parse_from(arguments).map(|line| line.simulate)
    }

    #[test]
    fn rate_and_interval_are_two_ways_to_say_the_same() {
        let check = |arguments: &[&str], expected: Option<u64>| {
            let habits = read(arguments).expect("legal").work.habits();
            assert_eq!(habits.interval, expected.map(Duration::from_millis), "{arguments:?}");
        };
        check(&[], Some(1_000));
        check(&["--rate", "4"], Some(250));
        check(&["--rate", "0"], None);
        check(&["--interval", "2.5"], Some(2_500));
        check(&["--mi", "60"], Some(60_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["--count", "0"][..],
            &["--rate", "-1"],
            &["--rate", "nan"],
            &["--interval", "0"],
            &["--interval", "1", "--rate", "1"],
            &["--ramp-up", "0"],
            &["--qos", "2"],
            &["--messages", "0"],
            &["--ca-cert", "ca.pem"],
            &["--key", "a", "--ca-cert", "ca.pem", "--ca-key", "ca.key"],
            &["--payload-bytes", "300000"],
        ] {
            assert!(read(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn habits_are_good_unless_told_otherwise() {
        let habits = read(&[]).expect("legal").work.habits();
        assert!(habits.acknowledged && habits.answer_methods && !habits.report_twin);
        let others = ["--qos", "0", "--answer-methods", "false", "--report-twin"];
        let habits = read(&others).expect("legal").work.habits();
        assert!(!habits.acknowledged && !habits.answer_methods && habits.report_twin);
    }
}
