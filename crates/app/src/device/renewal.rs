//! A device shows a newer token on the connection it has (H §4.3.3, §4.5.2).

use decide::{
    attestation::Shown,
    hub::connect::{self, Admission, ConnectRequest},
};
use model::{Change, ConnectRefusal, Evidence, Timestamp};

use super::{Connecting, DeviceSession, connect_changes};
use crate::{App, Attempt, MAX_ATTEMPTS, No, attempted, live::End};

impl App {
    /// Whether a device would be let in, and until when. It takes no place and ends no session.
    ///
    /// # Errors
    /// [`ConnectRefusal`], or a fault.
    pub async fn check_device(
        &self,
        connecting: Connecting,
    ) -> Result<Timestamp, No<ConnectRefusal>> {
        let Connecting { hub, device_id, evidence, address, earlier: _ } = connecting;
        let shown = self.shown(evidence, address)?;
        let request = ConnectRequest { hub: &hub, device_id: &device_id, shown: &shown, address };
        let facts = self.store.connect_facts(&request.query()).await?;
        let settings = &self.settings.register.attest;
        let admission = connect::admit(&facts, &request, settings, self.clock.now());
        Ok(admission.map_err(No::Refused)?.expires)
    }
}

impl DeviceSession {
    /// The session goes on with what the device shows now, in the place of what it rested on
    /// before. Returns until when. It counts against no rate: that the device showed it did
    /// ([`App::check_device`]).
    ///
    /// It is decided from fresh facts, and the commit demands that they still stand. Whoever
    /// changes the registry after that commit meets the session as it was before, and then the
    /// decision is taken anew: so the session never goes on with something that no longer holds.
    ///
    /// # Errors
    /// [`ConnectRefusal`], or a fault; the session then is as it was. One that is over is refused
    /// for the reason it ended for.
    pub async fn renew(&self, evidence: Evidence) -> Result<Timestamp, No<ConnectRefusal>> {
        let shown = self.app.parsed(&evidence)?;
        for _ in 0..MAX_ATTEMPTS {
            self.check_renewable()?;
            // Before the facts: what changes after them is met by the commit, or by the count.
            let n_rechecks = self.seat.n_rechecks();
            let Some((admission, has_origin)) = self.try_renew(&shown).await? else { continue };
            let expires = admission.expires;
            if self.seat.renew(admission, n_rechecks) {
                self.app.live.rest(&self.seat);
                if has_origin {
                    let (hub, device_id) = (self.hub(), self.device_id());
                    let address = self.seat.address;
                    let request = ConnectRequest { hub, device_id, shown: &shown, address };
                    self.app.look_at_footing(&self.seat, &request).await?;
                }
                // Whoever ended it meanwhile had a reason that stands.
                self.check_renewable()?;
                return Ok(expires);
            }
        }
        Err(No::Refused(ConnectRefusal::Conflict))
    }

    /// One attempt, and whether the device was registered; `None` when something it was decided from
    /// was written meanwhile.
    async fn try_renew(
        &self,
        shown: &Shown,
    ) -> Result<Option<(Admission, bool)>, No<ConnectRefusal>> {
        let (hub, device_id) = (self.hub(), self.device_id());
        let request = ConnectRequest { hub, device_id, shown, address: self.seat.address };
        let facts = self.app.store.connect_facts(&request.query()).await?;
        let now = self.app.clock.now();
        let settings = &self.app.settings.register.attest;
        let admission = connect::admit(&facts, &request, settings, now).map_err(No::Refused)?;
        let changes = connect_changes(&request, &facts, &admission).with(Change::Touch {
            hub: hub.clone(),
            device_id: device_id.clone(),
            at: now,
        });
        Ok(match attempted(self.app.store.commit(changes).await)? {
            Attempt::Done => Some((admission, facts.origin.is_some())),
            Attempt::Again => None,
        })
    }

    fn check_renewable(&self) -> Result<(), No<ConnectRefusal>> {
        match self.seat.why_ended() {
            None => Ok(()),
            Some(End::CutOff(why)) => Err(No::Refused(why.clone())),
            Some(End::TakenOver) => Err(No::Refused(ConnectRefusal::Overtaken)),
            Some(End::TooSlow) => Err(No::Refused(ConnectRefusal::Conflict)),
        }
    }
}
