//! The row of the service's settings.

use std::net::IpAddr;

use model::{Etag, IpAction, IpNetwork, IpRule, IpTarget, ServiceSettings};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use crate::codec::{Binder, Columns, Db, Word, words};

/// Reads the settings, if anybody ever changed one.
pub(crate) const FIND: &str = "SELECT allocation_policy, operator_api_on_loopback_only, ip_rules, \
     disenroll_ends_sessions, etag, last_updated FROM service_settings WHERE id = 1";

const PUT: &str = "INSERT OR REPLACE INTO service_settings \
     (id, allocation_policy, operator_api_on_loopback_only, ip_rules, disenroll_ends_sessions, etag, \
     last_updated) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";

words!(IpAction {
    IpAction::Accept => "accept",
    IpAction::Reject => "reject",
});

words!(IpTarget {
    IpTarget::All => "all",
    IpTarget::ServiceApi => "serviceApi",
    IpTarget::DeviceApi => "deviceApi",
});

/// Replaces the settings.
pub(crate) fn put(db: Db<'_>, settings: &ServiceSettings) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.word(settings.allocation_policy)?;
    binder.put(settings.operator_api_on_loopback_only)?;
    let rules: Vec<IpRuleRow> = settings.ip_rules.iter().map(IpRuleRow::from).collect();
    binder.document(&rules)?;
    binder.put(settings.disenroll_ends_sessions)?;
    binder.put(settings.etag.as_str())?;
    binder.time(settings.last_updated)?;
    binder.run()?;
    Ok(())
}

/// Reads the row of settings.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<ServiceSettings> {
    Ok(ServiceSettings {
        allocation_policy: columns.word()?,
        operator_api_on_loopback_only: columns.take()?,
        ip_rules: {
            let rules: Vec<IpRuleRow> = columns.document()?;
            let bad = || columns.unreadable("an IP rule that this release does not know");
            let read = |rule: IpRuleRow| rule.into_model().ok_or_else(bad);
            rules.into_iter().map(read).collect::<Result<_>>()?
        },
        disenroll_ends_sessions: columns.take()?,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        last_updated: columns.time()?,
    })
}

#[derive(Serialize, Deserialize)]
struct IpRuleRow {
    name: String,
    action: String,
    address: IpAddr,
    prefix: u8,
    target: String,
}

impl From<&IpRule> for IpRuleRow {
    fn from(rule: &IpRule) -> Self {
        let IpRule { name, action, network: IpNetwork { address, prefix }, target } = rule;
        Self {
            name: name.clone(),
            action: action.word().to_owned(),
            address: *address,
            prefix: *prefix,
            target: target.word().to_owned(),
        }
    }
}

impl IpRuleRow {
    fn into_model(self) -> Option<IpRule> {
        Some(IpRule {
            name: self.name,
            action: IpAction::from_word(&self.action)?,
            network: IpNetwork { address: self.address, prefix: self.prefix },
            target: IpTarget::from_word(&self.target)?,
        })
    }
}
