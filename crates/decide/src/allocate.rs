//! Which hub a device goes to.

use aws_lc_rs::digest;
use model::{
    AllocationPolicy, CustomAllocation, HubName, HubSettings, LinkedHub, RegistrationId, Step,
    Terms,
};

use crate::attestation::Attested;

/// What allocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// This hub.
    Hub(HubName),
    /// The operator's webhook has to be asked.
    Ask(CustomAllocation),
    /// No hub can be chosen; why, in words.
    None(String),
}

/// Chooses a hub for a device that proved itself: the enrollment's policy outranks the service's
/// (D §5.10).
#[must_use]
pub fn allocate(
    proof: &Attested<'_>,
    registration_id: &RegistrationId,
    settings: &HubSettings,
    steps: &mut Vec<Step>,
) -> Allocation {
    let terms = proof.terms();
    let policy = policy_of(terms, settings);
    if policy == AllocationPolicy::Custom {
        return match &terms.custom_allocation {
            Some(webhook) => Allocation::Ask(webhook.clone()),
            None => nothing("the policy is `custom` and no webhook is given", steps),
        };
    }
    let candidates = candidates(terms, settings);
    steps.push(Step::CandidateHubs(candidates.iter().map(|hub| hub.name.clone()).collect()));
    let hub = match policy {
        AllocationPolicy::Static => match named_hub(terms) {
            None => return nothing("the policy is `static` and no hub is named", steps),
            Some(_) => candidates.first().map(|hub| hub.name.clone()),
        },
        // What the latency from a device to a hub is, a service that runs in one place cannot
        // know: all hubs tie, and ties are hashed. See docs/divergences.md, "geoLatency".
        AllocationPolicy::Hashed | AllocationPolicy::GeoLatency | AllocationPolicy::Custom => {
            hashed(registration_id, &candidates)
        }
    };
    match hub {
        Some(hub) => {
            steps.push(Step::Allocated { policy, hub: hub.clone() });
            Allocation::Hub(hub)
        }
        None => nothing("none of the enrollment's hubs is linked", steps),
    }
}

fn nothing(why: &str, steps: &mut Vec<Step>) -> Allocation {
    steps.push(Step::NotAllocated { why: why.to_owned() });
    Allocation::None(why.to_owned())
}

fn policy_of(terms: &Terms, settings: &HubSettings) -> AllocationPolicy {
    match (terms.allocation_policy, &terms.iot_hub_host_name) {
        (Some(policy), _) => policy,
        (None, Some(_)) => AllocationPolicy::Static,
        (None, None) => settings.allocation_policy,
    }
}

fn named_hub(terms: &Terms) -> Option<&String> {
    terms.iot_hubs.iter().flatten().next().or(terms.iot_hub_host_name.as_ref())
}

/// The hubs in question: those the enrollment names and that are linked, in its order; or, when
/// it names none, those that apply the allocation policy.
fn candidates<'a>(terms: &Terms, settings: &'a HubSettings) -> Vec<&'a LinkedHub> {
    let named: Vec<&String> = match &terms.iot_hubs {
        Some(hubs) if !hubs.is_empty() => hubs.iter().collect(),
        _ => terms.iot_hub_host_name.iter().collect(),
    };
    if named.is_empty() {
        return settings.hubs.iter().filter(|hub| hub.apply_allocation_policy).collect();
    }
    named
        .iter()
        .filter_map(|name| {
            settings.hubs.iter().find(|hub| hub.name.as_str().eq_ignore_ascii_case(name))
        })
        .collect()
}

/// The hubs a webhook may choose from: those the enrollment names and that are linked, or all
/// linked ones when it names none.
#[must_use]
pub fn eligible(terms: &Terms, settings: &HubSettings) -> Vec<HubName> {
    match named_hub(terms) {
        Some(_) => candidates(terms, settings).iter().map(|hub| hub.name.clone()).collect(),
        None => settings.hubs.iter().map(|hub| hub.name.clone()).collect(),
    }
}

/// Weighted rendezvous hashing: each hub draws a number from its name and the device's ID, scaled
/// by its weight, and the highest wins. A device's hub depends on nothing else, a hub that is
/// added takes only its own share, and one that is removed gives away only its own.
#[must_use]
pub fn hashed(registration_id: &RegistrationId, hubs: &[&LinkedHub]) -> Option<HubName> {
    let score = |hub: &LinkedHub| {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(hub.name.as_str().as_bytes());
        context.update(&[0]);
        context.update(registration_id.key().as_bytes());
        let hash = context.finish();
        let draw = hash.as_ref().iter().take(7).fold(0_u64, |n, b| (n << 8) | u64::from(*b)) >> 3;
        // 53 bits, the whole of a double's precision, moved off both ends of (0, 1).
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (draw as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(hub.weight) / -unit.ln()
    };
    hubs.iter()
        .filter(|hub| hub.weight > 0)
        .max_by(|a, b| score(a).total_cmp(&score(b)).then_with(|| a.name.cmp(&b.name)))
        .map(|hub| hub.name.clone())
}

#[cfg(test)]
mod tests;
