//! What `induct serve` tells the person who started it.

use std::io::{self, Write};

use model::PolicyScope;

use super::Server;

/// Says what this start made and where, if it made anything: a first start in full, a new hub in
/// one line. Never a key.
///
/// # Errors
/// Standard output is gone.
pub fn announce_first_start(server: &Server, out: &mut dyn Write) -> io::Result<()> {
    let started = &server.started;
    let folder = server.data().path().display();
    let of_service = policies(server, |scope| *scope == PolicyScope::Service);
    let hubs = server.listening.hubs.iter().filter_map(|hub| {
        let names = policies(
            server,
            |scope| matches!(scope, PolicyScope::Hub(name) if name.as_str() == hub.host),
        );
        (!names.is_empty()).then_some((hub, names))
    });
    if !started.made_id_scope {
        for (hub, names) in hubs {
            writeln!(out, "New hub {} ({}), with the policies {names}.", hub.name, hub.host)?;
        }
        for hub in &started.unlinked {
            writeln!(
                out,
                "Unlinked {hub}, which the configuration names no more; its registry is kept."
            )?;
        }
        return announce_master_key(server, out);
    }
    writeln!(out, "This is the first start in {folder}. Made, and kept there:")?;
    writeln!(out, "  ID scope      {}, which devices ask for", started.id_scope)?;
    if server.made_ca {
        let ca = server.data().ca();
        writeln!(out, "  CA            {}, which devices and tools must trust", ca.display())?;
    }
    writeln!(out, "  policy        {of_service}, with random keys")?;
    for (hub, names) in hubs {
        writeln!(out, "  hub {:<9} {}, with the policies {names}", hub.name, hub.host)?;
    }
    if let Some(path) = &server.made_master_key {
        writeln!(
            out,
            "  master key    {}, which opens every secret in the database",
            path.display()
        )?;
    }
    announce_master_key(server, out)?;
    writeln!(out)?;
    writeln!(out, "Print a connection string, with its key:")?;
    let folder = quoted(&folder.to_string());
    writeln!(out, "  induct connection-string show --data {folder}")?;
    writeln!(out)?;
    writeln!(out, "Watch what devices send; in another terminal, let some connect and send:")?;
    let hub = match server.listening.hubs.as_slice() {
        [first, _, ..] => format!(" --hub-name {}", first.name),
        _ => String::new(),
    };
    writeln!(out, "  induct hub monitor-events{hub} --data {folder}")?;
    writeln!(out, "  induct device simulate --count 3 --data {folder}")?;
    writeln!(out)
}

/// Says what losing the master key would mean, while it can still be copied.
fn announce_master_key(server: &Server, out: &mut dyn Write) -> io::Result<()> {
    let Some(path) = &server.made_master_key else { return Ok(()) };
    writeln!(out)?;
    writeln!(out, "Copy the master key {} now, and keep the copy apart from", path.display())?;
    writeln!(out, "backups of the database. Without it nobody can read the keys of enrollments,")?;
    writeln!(out, "policies and hubs again, and the server does not start; with both, anybody can.")
}

/// Says where the server listens, one line per address.
///
/// # Errors
/// Standard output is gone.
pub fn announce_addresses(server: &Server, out: &mut dyn Write) -> io::Result<()> {
    for address in &server.listening.https {
        writeln!(out, "Listening on https://{address}")?;
    }
    for address in &server.listening.mqtt {
        writeln!(out, "Listening on mqtts://{address}")?;
    }
    for address in &server.listening.amqp {
        writeln!(out, "Listening on amqps://{address}")?;
    }
    out.flush()
}

fn policies(server: &Server, of: impl Fn(&PolicyScope) -> bool) -> String {
    let made = server.started.made_policies.iter().filter(|(scope, _)| of(scope));
    let names: Vec<&str> = made.map(|(_, name)| name.as_str()).collect();
    names.join(", ")
}

/// The path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}
