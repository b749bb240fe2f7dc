//! Networking: who may come in at all, before anybody looks at a token (O §3.6).

use std::collections::HashSet;
use std::net::IpAddr;

use model::{
    IpAction, IpNetwork, IpRule, IpTarget, OperatorRefusal, ServiceSettings, service::MAX_IP_RULES,
};
use thiserror::Error;

use super::bad;

/// The longest name of a rule, in characters.
const MAX_NAME: usize = 128;

/// Which API somebody knocks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// The operator API and the hubs' registries.
    Service,
    /// The device API.
    Device,
}

/// What keeps an address out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeptOut {
    /// The operator API answers to loopback addresses only.
    #[error("the operator API answers to loopback addresses only, and {0} is none")]
    NotLoopback(IpAddr),
    /// A rule.
    #[error("the rule `{rule}` rejects {address}")]
    Rule {
        /// The rule's name.
        rule: String,
        /// Whom it rejects.
        address: IpAddr,
    },
}

/// Whether this address may use this API: the first rule about both decides; without one, yes.
///
/// An IPv4 address inside an IPv6 one counts as the IPv4 address it is. While the operator API
/// answers to loopback only, no rule is asked about it, as with the vendor's switch (O §3.6).
///
/// # Errors
/// [`KeptOut`] says by what.
pub fn admits(settings: &ServiceSettings, address: IpAddr, api: Api) -> Result<(), KeptOut> {
    let address = address.to_canonical();
    if api == Api::Service && settings.operator_api_on_loopback_only {
        return match address.is_loopback() {
            true => Ok(()),
            false => Err(KeptOut::NotLoopback(address)),
        };
    }
    let is_about = |rule: &&IpRule| {
        let same_api = match rule.target {
            IpTarget::All => true,
            IpTarget::ServiceApi => api == Api::Service,
            IpTarget::DeviceApi => api == Api::Device,
        };
        same_api && contains(rule.network, address)
    };
    match settings.ip_rules.iter().find(is_about) {
        Some(IpRule { action: IpAction::Reject, name, .. }) => {
            Err(KeptOut::Rule { rule: name.clone(), address })
        }
        Some(IpRule { action: IpAction::Accept, .. }) | None => Ok(()),
    }
}

/// Whether a network holds an address, which is canonical. Networks of one family hold none of
/// the other.
fn contains(network: IpNetwork, address: IpAddr) -> bool {
    let (base, prefix) = match (network.address, network.address.to_canonical()) {
        // The IPv4 networks inside IPv6 begin after 96 bits.
        (IpAddr::V6(_), base @ IpAddr::V4(_)) if network.prefix >= 96 => {
            (base, network.prefix - 96)
        }
        (base, _) => (base, network.prefix),
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let differing = base.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= u32::from(prefix.min(32))
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let differing = base.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= u32::from(prefix.min(128))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Checks rules as a list: how many, names, prefixes.
pub(super) fn check_rules(rules: &[IpRule]) -> Result<(), OperatorRefusal> {
    if rules.len() > MAX_IP_RULES {
        return Err(bad(format!(
            "there may be {MAX_IP_RULES} IP rules, these are {}",
            rules.len()
        )));
    }
    let mut seen = HashSet::new();
    for rule in rules {
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if !(1..=MAX_NAME).contains(&rule.name.len()) || !rule.name.chars().all(printable) {
            return Err(bad(format!("the name of an IP rule is 1 to {MAX_NAME} ASCII characters")));
        }
        if !seen.insert(rule.name.to_ascii_lowercase()) {
            return Err(bad(format!(
                "two IP rules are called `{}`; letter case makes no difference",
                rule.name
            )));
        }
        let most = if rule.network.address.is_ipv4() { 32 } else { 128 };
        if rule.network.prefix > most {
            return Err(bad(format!(
                "the IP rule `{}` has a prefix of {} bits; at most {most} make sense",
                rule.name, rule.network.prefix
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::{AllocationPolicy, Etag, Timestamp};

    use super::*;

    fn settings(rules: &[(IpAction, &str, IpTarget)]) -> ServiceSettings {
        let rule = |(i, (action, network, target)): (usize, &(IpAction, &str, IpTarget))| {
            let (address, prefix) = network.split_once('/').expect("a network");
            let network = IpNetwork {
                address: address.parse().expect("an address"),
                prefix: prefix.parse().expect("a prefix"),
            };
            IpRule { name: format!("rule-{i}"), action: *action, network, target: *target }
        };
        ServiceSettings {
            allocation_policy: AllocationPolicy::Hashed,
            operator_api_on_loopback_only: false,
            disenroll_ends_sessions: false,
            ip_rules: rules.iter().enumerate().map(rule).collect(),
            etag: Etag::from_random([0; 16]),
            last_updated: Timestamp::from_unix_secs(0),
        }
    }

    fn check(settings: &ServiceSettings, address: &str, api: Api, admitted: bool) {
        let outcome = admits(settings, address.parse().expect("an address"), api);
        assert_eq!(outcome.is_ok(), admitted, "{address} at {api:?}: {outcome:?}");
    }

    use IpAction::{Accept, Reject};
    use IpTarget::{All, DeviceApi, ServiceApi};

    #[test]
    fn without_a_rule_about_it_everyone_is_admitted() {
        check(&settings(&[]), "203.0.113.9", Api::Service, true);
        check(&settings(&[(Reject, "10.0.0.0/8", All)]), "203.0.113.9", Api::Device, true);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let office = settings(&[
            (Accept, "198.51.100.0/24", All),
            (Reject, "198.51.100.7/32", All),
            (Reject, "0.0.0.0/0", ServiceApi),
            (Reject, "::/0", All),
        ]);
        for (address, service, device) in [
            ("198.51.100.7", true, true),
            ("198.51.101.7", false, true),
            ("2001:db8::1", false, false),
            ("::ffff:198.51.100.9", true, true),
            ("::ffff:198.51.101.9", false, true),
            ("127.0.0.1", false, true),
        ] {
            check(&office, address, Api::Service, service);
            check(&office, address, Api::Device, device);
        }
    }

    #[test]
    fn a_prefix_counts_leading_bits_in_both_families() {
        for (network, inside, outside) in [
            ("10.1.2.128/25", "10.1.2.128", "10.1.2.127"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("2001:db8:0:8000::/49", "2001:db8:0:ffff::1", "2001:db8:0:7fff::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::1/128", "::1", "::2"),
        ] {
            let rules = settings(&[(Reject, network, DeviceApi)]);
            check(&rules, inside, Api::Device, false);
            check(&rules, inside, Api::Service, true);
            check(&rules, outside, Api::Device, true);
        }
    }

    #[test]
    fn the_loopback_switch_closes_the_operator_api_to_all_others_and_overrules_the_rules() {
        let mut closed = settings(&[(Reject, "127.0.0.0/8", All), (Accept, "10.0.0.0/8", All)]);
        closed.operator_api_on_loopback_only = true;
        for (address, service, device) in [
            ("127.0.0.1", true, false),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, false),
            ("10.1.1.1", false, true),
        ] {
            check(&closed, address, Api::Service, service);
            check(&closed, address, Api::Device, device);
        }
    }

    #[test]
    fn rules_are_bounded_named_once_and_have_sensible_prefixes() {
        let rules = |n: usize| settings(&vec![(Accept, "10.0.0.0/8", All); n]).ip_rules;
        assert_eq!(check_rules(&rules(MAX_IP_RULES)), Ok(()));
        assert!(check_rules(&rules(MAX_IP_RULES + 1)).is_err());
        let broken = |change: fn(&mut Vec<IpRule>)| {
            let mut rules = rules(2);
            change(&mut rules);
            assert!(check_rules(&rules).is_err(), "{rules:?}");
        };
        broken(|rules| rules[1].name = "RULE-0".to_owned());
        broken(|rules| rules[1].name = String::new());
        broken(|rules| rules[1].name = "x".repeat(129));
        broken(|rules| rules[1].name = "büro".to_owned());
        broken(|rules| rules[1].network.prefix = 33);
    }
}
