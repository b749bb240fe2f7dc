//! IP rules (O §3.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{IpAction, IpNetwork, IpRule, IpTarget, Json, OperatorRefusal};

use super::members;
use crate::{operator::parse_body, read::Malformed, write::Object};

const ACTIONS: &[(&str, IpAction)] = &[("Accept", IpAction::Accept), ("Reject", IpAction::Reject)];

const TARGETS: &[(&str, IpTarget)] = &[
    ("all", IpTarget::All),
    ("serviceApi", IpTarget::ServiceApi),
    ("deviceApi", IpTarget::DeviceApi),
];

/// Parses the body of a `PUT` of the IP rules: all of them, in order. Without a target a rule is
/// about both APIs.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_ip_rules(body: &[u8]) -> Result<Vec<IpRule>, OperatorRefusal> {
    let body = parse_body(body)?;
    let Json::Array(rules) = &body else {
        return Err(Malformed::new("", "expected an array of IP rules, in their order").into());
    };
    let rules = rules.iter().enumerate().map(|(i, rule)| read_rule(rule, &format!("[{i}]")));
    Ok(rules.collect::<Result<_, _>>()?)
}

fn read_rule(rule: &Json, path: &str) -> Result<IpRule, Malformed> {
    let rule = members(rule, path, &["filterName", "action", "ipMask", "target"])?;
    let mask = rule.required_string("ipMask")?;
    Ok(IpRule {
        name: rule.required_string("filterName")?.to_owned(),
        action: rule.word("action", ACTIONS)?.ok_or_else(|| rule.missing("action"))?,
        network: network(mask).map_err(|why| rule.wrong("ipMask", why))?,
        target: rule.word("target", TARGETS)?.unwrap_or(IpTarget::All),
    })
}

/// A network such as `10.0.0.0/8` or `2001:db8::/32`; a bare address is a network of one.
fn network(text: &str) -> Result<IpNetwork, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "expected a network such as 10.0.0.0/8 or 2001:db8::/32".to_owned())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => Some(most),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
    };
    let prefix = prefix
        .filter(|bits| *bits <= most)
        .ok_or_else(|| format!("the prefix after the slash is a number from 0 to {most}"))?;
    let first = first_address(address, prefix);
    if first != address {
        return Err(format!("{text} has bits beyond its prefix; is {first}/{prefix} meant?"));
    }
    Ok(IpNetwork { address, prefix })
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The IP rules, in their order.
#[must_use]
pub fn ip_rules(rules: &[IpRule]) -> Json {
    Json::Array(rules.iter().map(ip_rule).collect())
}

fn ip_rule(rule: &IpRule) -> Json {
    let action = ACTIONS.iter().find(|(_, action)| *action == rule.action);
    let target = TARGETS.iter().find(|(_, target)| *target == rule.target);
    let IpNetwork { address, prefix } = rule.network;
    Object::new()
        .with("filterName", rule.name.as_str())
        .with_some("action", action.map(|(word, _)| *word))
        .with("ipMask", format!("{address}/{prefix}").as_str())
        .with_some("target", target.map(|(word, _)| *word))
        .build()
}
