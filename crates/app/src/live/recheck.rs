//! Sessions are held against what was written, and end when they no longer hold.

use std::{collections::BTreeSet, sync::Arc};

use decide::hub::{cause, connect};
use model::{AttestFailure, ConnectRefusal};

use super::{
    End, Live,
    seat::Seat,
    touched::{Cause, Touched},
};

/// What became of a change set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// Perhaps the store will still write it.
    Unknown,
}

/// Holds sessions against a change set when it is dropped: when the commit is done, and as well
/// when nobody waits for it any more. The store may write it all the same then, and a session
/// that ended for nothing only connects anew.
pub(super) struct RecheckOnDrop<'a> {
    pub(super) live: &'a Live,
    pub(super) touched: Touched,
    /// `None` when nothing was written.
    pub(super) outcome: Option<Outcome>,
}

impl Drop for RecheckOnDrop<'_> {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome else { return };
        self.live.recheck(&self.touched, outcome);
        match outcome {
            Outcome::Written => {
                for hub in &self.touched.feedback {
                    self.live.feedback_news.announce(hub);
                }
            }
            Outcome::Unknown => {
                for end in self.touched.loose_ends() {
                    self.live.note(end);
                }
            }
        }
    }
}

impl Live {
    /// Ends the sessions that no longer hold after these writes; or, while it is not known whether
    /// they were written, those that then no longer would.
    fn recheck(&self, touched: &Touched, outcome: Outcome) {
        self.recheck_identities(touched, outcome);
        if let Some(ends) = touched.disenroll_ends_sessions
            && outcome == Outcome::Written
        {
            self.wrote_disenroll_ends_sessions(ends);
        }
        let mut ended = self.recheck_footings(touched, outcome == Outcome::Written);
        ended.extend(self.recheck_hubs_and_credentials(touched));
        self.turns.begin(ended);
    }

    fn recheck_identities(&self, touched: &Touched, outcome: Outcome) {
        let identities =
            touched.identities.iter().map(|(hub, new)| (hub, &new.device_id, Some(new)));
        let deleted = touched.deleted.iter().map(|(hub, id)| (hub, id, None));
        for (hub, id, identity) in identities.chain(deleted) {
            let identity = identity.map(|identity| &**identity);
            if let Some(seat) = self.find(hub, id) {
                match outcome {
                    // The refusal ends the session; there is nobody else to tell.
                    Outcome::Written => drop(seat.recheck(identity)),
                    Outcome::Unknown => seat.doubt(identity),
                }
            }
            for seat in self.modules_of(hub, id) {
                match outcome {
                    Outcome::Written => drop(seat.recheck_parent(identity)),
                    Outcome::Unknown => seat.doubt_parent(identity),
                }
            }
        }
    }

    /// Enrollments, CAs, bans and revocations, which find their sessions by the index. Those that
    /// ended, unheard.
    fn recheck_footings(&self, touched: &Touched, is_written: bool) -> Vec<Arc<Seat>> {
        let by_default = self.disenroll_ends_sessions();
        let mut ended = Vec::new();
        let mut check = |key: &str, change: cause::Change<'_>| {
            let mut seats = self.causes.find(key);
            seats.retain(|seat| seat.recheck_footing(change, by_default, is_written));
            ended.extend(seats);
        };
        for cause in &touched.causes {
            if let Some(change) = cause.change() {
                for key in cause.keys() {
                    check(&key, change);
                }
            }
            for key in self.revoked(cause) {
                check(&key, cause::Change::Revoked(&key));
            }
        }
        ended
    }

    /// The keys of the certificates that were revoked and that sessions may rest on. There may be a
    /// million of them, and as many sessions: the fewer ones are gone through.
    fn revoked<'a>(&self, cause: &'a Cause) -> Box<dyn Iterator<Item = String> + 'a> {
        match cause {
            Cause::Revoked(change) if change.added.len() > self.n_sessions() => {
                let rest_on = |seat: Arc<Seat>| seat.revoked_by(change);
                let keys: BTreeSet<String> =
                    self.all(|_| true).into_iter().flat_map(rest_on).collect();
                Box::new(keys.into_iter())
            }
            _ => Box::new(cause.revoked()),
        }
    }

    /// Hubs, policies and the hubs' CAs, which are few, and for which all sessions are gone
    /// through. Those that ended, unheard.
    fn recheck_hubs_and_credentials(&self, touched: &Touched) -> Vec<Arc<Seat>> {
        let mut ended = Vec::new();
        for hub in &touched.hubs {
            let why = End::CutOff(ConnectRefusal::UnknownHub(hub.to_string()));
            let mut seats = self.all(|seat| seat.hub == *hub);
            seats.retain(|seat| seat.end_unheard(why.clone()));
            ended.extend(seats);
        }
        for (hub, name, policy) in &touched.policies {
            let mut seats = self.all(|seat| seat.hub == *hub);
            seats.retain(|seat| {
                seat.recheck_credential(
                    |credential| connect::holds_with_policy(credential, name, policy.as_deref()),
                    ConnectRefusal::PolicyRefused,
                )
            });
            ended.extend(seats);
        }
        for (name, ca) in &touched.ca_certificates {
            let mut seats = self.all(|_| true);
            seats.retain(|seat| {
                seat.recheck_credential(
                    |credential| connect::holds_with_ca(credential, name, ca.as_deref()),
                    ConnectRefusal::NotAttested(AttestFailure::BadChain(format!(
                        "the CA certificate `{name}` is not enrolled any more"
                    ))),
                )
            });
            ended.extend(seats);
        }
        ended
    }
}
