//! The service's settings: its allocation policy and who may come in (O §3.2, §3.6).

use model::{
    AllocationPolicy, Caller, Etag, Fresh, IpRule, OperatorRefusal, Precondition, ServiceSettings,
    Timestamp,
};

use super::{
    bad, check_etag,
    network::{self, Api},
};

/// The settings as an operator sends them. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsDraft {
    /// Whether the end of an enrollment ends the sessions that rest on it.
    pub disenroll_ends_sessions: Option<bool>,
    /// See [`ServiceSettings::allocation_policy`].
    pub allocation_policy: Option<AllocationPolicy>,
    /// See [`ServiceSettings::operator_api_on_loopback_only`].
    pub operator_api_on_loopback_only: Option<bool>,
    /// See [`ServiceSettings::ip_rules`]; the whole list.
    pub ip_rules: Option<Vec<IpRule>>,
}

impl SettingsDraft {
    /// What the audit log calls the change.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match (&self.ip_rules, self.allocation_policy, self.operator_api_on_loopback_only) {
            (Some(_), None, None) => "ip-rules.update",
            _ => "service.update",
        }
    }
}

/// What the settings become. They are always there, so a precondition is never needed.
///
/// Rules that would keep their author out of the operator API are refused, unless `force` says
/// that this is wanted.
///
/// # Errors
/// [`OperatorRefusal`]: stale etag, a broken rule, or [`OperatorRefusal::WouldLockOut`].
pub fn put(
    existing: &ServiceSettings,
    draft: SettingsDraft,
    precondition: &Precondition,
    by: &Caller,
    force: bool,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<ServiceSettings, OperatorRefusal> {
    check_etag(&existing.etag, precondition)?;
    if draft.allocation_policy == Some(AllocationPolicy::Custom) {
        return Err(bad(
            "the allocation policy of the service is hashed, geoLatency or static; custom is for \
             enrollments",
        ));
    }
    if let Some(rules) = &draft.ip_rules {
        network::check_rules(rules)?;
    }
    let settings = ServiceSettings {
        allocation_policy: draft.allocation_policy.unwrap_or(existing.allocation_policy),
        operator_api_on_loopback_only: draft
            .operator_api_on_loopback_only
            .unwrap_or(existing.operator_api_on_loopback_only),
        disenroll_ends_sessions: draft
            .disenroll_ends_sessions
            .unwrap_or(existing.disenroll_ends_sessions),
        ip_rules: draft.ip_rules.unwrap_or_else(|| existing.ip_rules.clone()),
        etag: Etag::from_random(fresh.etag),
        last_updated: now,
    };
    if let (Some(address), false) = (by.address, force) {
        network::admits(&settings, address, Api::Service)
            .map_err(|kept_out| OperatorRefusal::WouldLockOut(kept_out.to_string()))?;
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use model::{IpAction, IpNetwork, IpTarget};
    use testkit::{NOW, fresh};

    use super::*;

    fn existing() -> ServiceSettings {
        ServiceSettings {
            allocation_policy: AllocationPolicy::Hashed,
            operator_api_on_loopback_only: false,
            disenroll_ends_sessions: false,
            ip_rules: Vec::new(),
            etag: Etag::from_random([9; 16]),
            last_updated: NOW,
        }
    }

    fn reject_all() -> SettingsDraft {
        let network = IpNetwork { address: [0, 0, 0, 0].into(), prefix: 0 };
        let rule = IpRule {
            name: "nobody".to_owned(),
            action: IpAction::Reject,
            network,
            target: IpTarget::ServiceApi,
        };
        SettingsDraft { ip_rules: Some(vec![rule]), ..SettingsDraft::default() }
    }

    fn loopback_only() -> SettingsDraft {
        SettingsDraft { operator_api_on_loopback_only: Some(true), ..SettingsDraft::default() }
    }

    fn put_from(
        address: Option<[u8; 4]>,
        draft: SettingsDraft,
        precondition: &Precondition,
        force: bool,
    ) -> Result<ServiceSettings, OperatorRefusal> {
        let address = address.map(Into::into);
        let by = Caller { policy: "owner".to_owned(), address };
        put(&existing(), draft, precondition, &by, force, NOW, &fresh(1))
    }

    #[test]
    fn whoever_would_lock_themselves_out_must_say_that_they_mean_it() {
        let check = |address, draft: SettingsDraft, force, admitted: bool| {
            let outcome = put_from(address, draft, &Precondition::None, force);
            assert_eq!(outcome.is_ok(), admitted, "{outcome:?}");
            let locked_out = matches!(outcome, Err(OperatorRefusal::WouldLockOut(_)));
            assert_eq!(locked_out, !admitted);
        };
        check(Some([10, 0, 0, 1]), reject_all(), false, false);
        check(Some([10, 0, 0, 1]), reject_all(), true, true);
        check(Some([127, 0, 0, 1]), reject_all(), false, false);
        check(None, reject_all(), false, true);
        check(Some([10, 0, 0, 1]), loopback_only(), false, false);
        check(Some([127, 0, 0, 1]), loopback_only(), false, true);
    }

    #[test]
    fn what_is_not_sent_stays_and_the_etag_is_new() {
        let changed = put_from(None, loopback_only(), &Precondition::Any, false).expect("put");
        assert_eq!(changed.allocation_policy, AllocationPolicy::Hashed);
        assert!(changed.operator_api_on_loopback_only);
        assert_ne!(changed.etag, existing().etag);
    }

    #[test]
    fn the_services_policy_is_never_custom_and_an_old_etag_is_refused() {
        let custom = SettingsDraft {
            allocation_policy: Some(AllocationPolicy::Custom),
            ..SettingsDraft::default()
        };
        let refused = put_from(None, custom, &Precondition::None, false);
        assert!(matches!(refused, Err(OperatorRefusal::BadRequest(_))), "{refused:?}");
        let stale = Precondition::Tag("old".to_owned());
        let refused = put_from(None, loopback_only(), &stale, false);
        assert_eq!(refused, Err(OperatorRefusal::StaleEtag));
    }
}
