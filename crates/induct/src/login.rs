//! How a command reaches a running server and says who it is: with a connection string, or with
//! what the data folder on this machine knows.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use app::{
    first_start::{HUB_OWNER, SERVICE_OWNER},
    ports::Clock,
};
use bytes::Bytes;
use clap::Args;
use http::Method;
use model::{AccessPolicy, HubName, PolicyScope, Right, SymmetricKey, Timestamp};
use store::Store;
use store_sqlite::SqliteStore;
use wire::connection_string::{ConnectionString, Target};

use crate::{
    cli::{Failure, Place},
    client::{self, Client, ClientError, ClientSettings, Response, Streamed},
    config::{self, Config},
    data_folder::{DataFolder, Listening},
    master_key,
    ports::{Environment, SystemClock},
};

/// For how long a token is valid, in seconds: as the vendor's CLI makes them (O §1.4).
pub const TOKEN_SECS: i64 = 600;

/// How to reach the provisioning service or a hub.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Reaching the server")]
pub struct LoginArgs {
    /// A connection string; without one, the server of the data folder on this machine is used.
    #[arg(short, long, value_name = "CONNECTION_STRING")]
    pub login: Option<String>,
    /// The CA that vouches for the server, PEM [default: $INDUCT_CA_FILE, or `tls/ca.pem` in the
    /// data folder].
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Connect to this address and port, whatever the server's name resolves to.
    #[arg(long, value_name = "ADDRESS")]
    pub connect_to: Option<SocketAddr>,
    /// Where the configuration and the data are.
    #[command(flatten)]
    pub place: Place,
}

/// A server, and a policy on it with its key.
#[derive(Debug, Clone)]
pub struct Login {
    /// The server's name.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The policy's name.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
    /// The CAs to trust, PEM.
    pub ca_pem: String,
    /// Where to connect to, if not to what the name resolves to.
    pub address: Option<SocketAddr>,
}

impl Login {
    /// Finds a login for the provisioning service.
    ///
    /// # Errors
    /// Why there is none, with the remedy.
    pub async fn find_service(
        arguments: &LoginArgs,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        match &arguments.login {
            Some(text) => Self::from_text(text, Target::Service, arguments, environment),
            None => {
                let local = Local::find(arguments, environment)?;
                let host = local.listening.service_hosts.first().cloned().unwrap_or_default();
                local.login(host, PolicyScope::Service, arguments, environment).await
            }
        }
    }

    /// Finds a login for a hub, by short name or host name; the only one if none is named.
    ///
    /// # Errors
    /// Why there is none, with the remedy.
    pub async fn find_hub(
        arguments: &LoginArgs,
        hub: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        match &arguments.login {
            Some(text) => Self::from_text(text, Target::Hub, arguments, environment),
            None => {
                let local = Local::find(arguments, environment)?;
                let names = local.listening.hubs.iter().map(|h| (h.name.as_str(), h.host.as_str()));
                let host = pick_hub(names, hub)?;
                let scope = PolicyScope::Hub(HubName::parse(&host)?);
                local.login(host, scope, arguments, environment).await
            }
        }
    }

    /// Host and port as they stand in `Host`: without 443.
    #[must_use]
    pub fn authority(&self) -> String {
        client::authority(&self.host, self.port)
    }

    /// A token for the whole service or hub, valid for [`TOKEN_SECS`] from `now`.
    #[must_use]
    pub fn token(&self, now: Timestamp) -> String {
        sas_token(&self.authority(), Some(&self.policy), &self.key, now.plus_secs(TOKEN_SECS))
    }

    /// A session with the server; it connects at its first request.
    ///
    /// # Errors
    /// [`ClientError`] for names and CAs that cannot be used.
    pub fn open(self) -> Result<Session, ClientError> {
        let mut settings = ClientSettings::new(&self.host, self.port, &self.ca_pem);
        settings.address = self.address;
        Ok(Session { client: Client::new(settings)?, login: self })
    }

    fn from_text(
        text: &str,
        target: Target,
        arguments: &LoginArgs,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let ConnectionString { host_name, key_name, key } = ConnectionString::parse(text, target)?;
        let (host, port) = split_port(&host_name)?;
        let ca_pem = match ca_file(arguments, environment) {
            Some(path) => client::read_pem(&path)?,
            None => {
                let config = config::load(&arguments.place.given(), environment).ok();
                let own = config.map(|loaded| DataFolder::new(loaded.config.data_folder).ca());
                let own = own.filter(|path| path.is_file()).ok_or_else(no_ca)?;
                client::read_pem(&own)?
            }
        };
        let address = arguments.connect_to;
        Ok(Self { host, port, policy: key_name, key, ca_pem, address })
    }
}

/// A running server and who we are to it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    login: Login,
}

impl Session {
    /// Sends a request with a fresh token and waits for the whole answer, whatever its status, for
    /// as long as usual or as `limit` says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request(
        &self,
        limit: Option<Duration>,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        let token = self.login.token(SystemClock.now());
        let mut all = vec![("authorization", token.as_str())];
        let body = body.into();
        if !body.is_empty() {
            all.push(("content-type", "application/json; charset=utf-8"));
        }
        all.extend_from_slice(headers);
        match limit {
            None => self.client.request(method, path_and_query, &all, body).await,
            Some(limit) => {
                self.client.request_within(limit, method, path_and_query, &all, body).await
            }
        }
    }

    /// As [`Self::request`], for an answer that goes on, with GET.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open(
        &self,
        path_and_query: &str,
        headers: &[(&str, &str)],
    ) -> Result<Streamed, ClientError> {
        let token = self.login.token(SystemClock.now());
        let mut all = vec![("authorization", token.as_str())];
        all.extend_from_slice(headers);
        self.client.open(Method::GET, path_and_query, &all).await
    }

    /// The login it was opened with.
    #[must_use]
    pub const fn login(&self) -> &Login {
        &self.login
    }
}

/// A shared access signature over `resource`, percent-encoded as the vendor's tools do.
#[must_use]
pub fn sas_token(
    resource: &str,
    policy: Option<&str>,
    key: &SymmetricKey,
    expires: Timestamp,
) -> String {
    let resource = wire::percent::encode(resource);
    let expiry = expires.unix_secs();
    let signature = attest::sas::sign(key, &resource, &expiry.to_string());
    wire::sas::token_text(&resource, &signature, expiry, policy)
}

/// Opens the store of a data folder for reading, beside a server that may be running.
///
/// # Errors
/// There is no data, it cannot be read, or its master key is not to be had.
pub fn open_read_only(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let data = DataFolder::new(&config.data_folder);
    let key = master_key::find(config, &data)?;
    Ok(Arc::new(SqliteStore::open_read_only(&data.database(), &key)?))
}

/// Picks a hub's host name by its short name or host name; the only one if none is named.
///
/// # Errors
/// [`Failure::NotFound`] with the names there are, or [`Failure::Usage`] when one must be named.
pub fn pick_hub<'a>(
    hubs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    wanted: Option<&str>,
) -> Result<String, Failure> {
    let names = || hubs.clone().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) => hubs
            .clone()
            .find(|(name, host)| {
                name.eq_ignore_ascii_case(wanted) || host.eq_ignore_ascii_case(wanted)
            })
            .map(|(_, host)| host.to_owned())
            .ok_or_else(|| {
                Failure::NotFound(format!("There is no hub `{wanted}`; there are {}.", names()))
            }),
        None => {
            let mut all = hubs.clone();
            match (all.next(), all.next()) {
                (Some((_, host)), None) => Ok(host.to_owned()),
                _ => Err(Failure::Usage(format!(
                    "There are several hubs; name one with `--hub-name`: {}.",
                    names()
                ))),
            }
        }
    }
}

/// The server that runs on a data folder of this machine.
struct Local {
    config: Config,
    listening: Listening,
}

impl Local {
    fn find(arguments: &LoginArgs, environment: &Environment) -> Result<Self, Failure> {
        let config = config::load(&arguments.place.given(), environment)?.config;
        let data = DataFolder::new(&config.data_folder);
        let listening = data.running().ok_or_else(|| {
            Failure::new(format!(
                "No server is running on the data folder {}. Start one with `induct serve`, name \
                 its folder with `--data`, or reach another server with `--login`.",
                data.path().display()
            ))
        })?;
        Ok(Self { config, listening })
    }

    async fn login(
        &self,
        host: String,
        scope: PolicyScope,
        arguments: &LoginArgs,
        environment: &Environment,
    ) -> Result<Login, Failure> {
        let (name, rights) = match &scope {
            PolicyScope::Service => {
                (SERVICE_OWNER, [Right::ServiceConfig, Right::EnrollmentWrite].as_slice())
            }
            PolicyScope::Hub(_) => {
                (HUB_OWNER, [Right::RegistryWrite, Right::ServiceConnect].as_slice())
            }
        };
        let mut policies = open_read_only(&self.config)?.list_policies(&scope).await?;
        // An operator may have another owner instead of the one that the first start made.
        let owner = policies.iter().position(|policy| policy.name == name).or_else(|| {
            let may_all = |policy: &AccessPolicy| rights.iter().all(|r| policy.rights.allow(*r));
            policies.iter().position(may_all)
        });
        let policy = owner.map(|at| policies.swap_remove(at)).ok_or_else(|| {
            Failure::NotFound(format!("{host} has no policy `{name}`; pass `--login`."))
        })?;
        let ca = ca_file(arguments, environment).or_else(|| self.listening.ca.clone());
        let ca_pem = client::read_pem(&ca.ok_or_else(no_ca)?)?;
        let address = arguments.connect_to.or_else(|| self.listening.local_address());
        Ok(Login {
            port: address.map_or(443, |address| address.port()),
            host,
            policy: policy.name,
            key: policy.keys.primary,
            ca_pem,
            address,
        })
    }
}

fn ca_file(arguments: &LoginArgs, environment: &Environment) -> Option<PathBuf> {
    let from_environment = || environment.find("INDUCT_CA_FILE").map(PathBuf::from);
    arguments.ca_file.clone().or_else(from_environment)
}

fn no_ca() -> Failure {
    Failure::Usage(
        "Whose certificate to trust is not known: pass the server's CA with `--ca-file FILE` or \
         INDUCT_CA_FILE. Induct's own is `tls/ca.pem` in the server's data folder."
            .to_owned(),
    )
}

fn split_port(host_name: &str) -> Result<(String, u16), Failure> {
    match host_name.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().map_err(|_| {
                Failure::Usage(format!("`{port}` in `HostName={host_name}` is not a port."))
            })?;
            Ok((host.to_owned(), port))
        }
        _ => Ok((host_name.to_owned(), 443)),
    }
}

#[cfg(test)]
mod tests;
