//! A change as an operator describes it, made into one that can be thought of: what is put is what
//! would be written, rules and limits included.

use decide::{enrollment, simulate::Hypothesis};
use model::{Caller, ChangeDraft, OperatorRefusal, Precondition, Simulation, SimulationLimits};

use crate::{App, No, bans::Wet, ca_certificates::CaDraft};

impl App {
    /// What a change would mean for the devices that are known; see [`Self::simulate`].
    ///
    /// # Errors
    /// What would be answered to the change itself, but for what stands there already: it is put
    /// whether it is new or not.
    pub async fn simulate_change(
        &self,
        change: &ChangeDraft,
        limits: &SimulationLimits,
        by: &Caller,
    ) -> Result<Simulation, No<OperatorRefusal>> {
        let change = self.hypothesis(change, by).await?;
        self.simulate(&[change], limits).await
    }

    async fn hypothesis(
        &self,
        change: &ChangeDraft,
        by: &Caller,
    ) -> Result<Hypothesis, No<OperatorRefusal>> {
        Ok(match change {
            ChangeDraft::PutIndividual(draft) => {
                let found = self.store.individual_facts(&draft.registration_id).await?;
                let whatever = whatever(found.enrollment.is_some());
                let written = self.preview_individual((**draft).clone(), &whatever).await?;
                Hypothesis::PutIndividual(Box::new(written))
            }
            ChangeDraft::SwitchIndividual(id, status) => {
                let found = self.store.individual_facts(id).await?.enrollment;
                let found = found.ok_or(No::Refused(OperatorRefusal::EnrollmentNotFound))?;
                Hypothesis::switch_individual(&found, *status)
            }
            ChangeDraft::DeleteIndividual(id) => {
                let found = self.store.individual_facts(id).await?.enrollment;
                let terms = found.as_ref().map(|enrollment| &enrollment.terms);
                let missing = OperatorRefusal::EnrollmentNotFound;
                enrollment::delete(terms, &Precondition::None, missing).map_err(No::Refused)?;
                Hypothesis::DeleteIndividual(id.clone())
            }
            ChangeDraft::PutGroup(draft) => {
                let found = self.store.find_group(&draft.group_id).await?;
                let whatever = whatever(found.is_some());
                let written = self.preview_group((**draft).clone(), &whatever).await?;
                Hypothesis::PutGroup(Box::new(written))
            }
            ChangeDraft::SwitchGroup(id, status) => {
                Hypothesis::switch_group(&self.get_group_settings(id).await?, *status)
            }
            ChangeDraft::DeleteGroup(id) => {
                Hypothesis::DeleteGroup(self.get_group_settings(id).await?.group_id)
            }
            ChangeDraft::PutCertificate { name, der, verified } => {
                let found = self.store.find_ca_certificate(name).await?;
                let draft = CaDraft { name: name.clone(), der: der.clone(), verified: *verified };
                let whatever = whatever(found.is_some());
                let written = self.preview_ca_certificate(&draft, &whatever).await?;
                Hypothesis::PutCaCertificate(Box::new(written))
            }
            ChangeDraft::DeleteCertificate(name) => {
                self.get_ca_certificate(name).await?;
                Hypothesis::DeleteCaCertificate(name.clone())
            }
            ChangeDraft::PutBan(draft) => {
                Hypothesis::PutBan(Box::new(self.put_ban(draft, Wet::Dry, by).await?))
            }
            ChangeDraft::LiftBan(key) => {
                Hypothesis::LiftBan(self.lift_ban(key, Wet::Dry, by).await?.subject.key())
            }
        })
    }
}

/// The precondition under which a thing is put whether it is there or not.
const fn whatever(is_there: bool) -> Precondition {
    if is_there { Precondition::Any } else { Precondition::None }
}
