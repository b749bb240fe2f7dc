//! The options that individual enrollments and groups share, and what each writes into the
//! document (O §4.2).

use clap::Args;
use model::Json;

use crate::cli::{
    complaint::Complaint,
    input::{object, switch},
};

const ALLOCATION_POLICIES: [&str; 4] = ["custom", "geoLatency", "hashed", "static"];
const STATUSES: [&str; 2] = ["disabled", "enabled"];

/// Options of `create` and `update` of both kinds of enrollment.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SharedFields {
    /// Whether devices are IoT Edge devices; alone it means true.
    #[arg(long = "edge-enabled", visible_alias = "ee", value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true")]
    pub(crate) edge_enabled: Option<bool>,
    /// Desired properties of the initial twin: JSON text, a path, or @path; "" for none.
    #[arg(long = "initial-twin-properties", visible_alias = "props", value_name = "JSON")]
    pub(crate) properties: Option<String>,
    /// Tags of the initial twin: JSON text, a path, or @path; "" for none.
    #[arg(long = "initial-twin-tags", visible_alias = "tags", value_name = "JSON")]
    pub(crate) tags: Option<String>,
    /// Whether devices may register: enabled or disabled.
    #[arg(long = "provisioning-status", visible_alias = "ps", value_name = "STATUS")]
    pub(crate) provisioning_status: Option<String>,
    /// What a second registration changes: never, reprovisionandmigratedata (the default of a new
    /// enrollment) or reprovisionandresetdata.
    #[arg(long = "reprovision-policy", visible_alias = "rp", value_name = "POLICY")]
    pub(crate) reprovision_policy: Option<String>,
    /// How a hub is chosen: custom, geoLatency, hashed or static.
    #[arg(long = "allocation-policy", visible_alias = "ap", value_name = "POLICY")]
    pub(crate) allocation_policy: Option<String>,
    /// Host names of the hubs to choose from; several are separated by spaces.
    #[arg(long = "iot-hubs", visible_alias = "ih", value_name = "HUB", num_args = 1..)]
    pub(crate) iot_hubs: Vec<String>,
    /// The webhook to ask when the allocation policy is custom.
    #[arg(long = "webhook-url", visible_alias = "wh", value_name = "URL")]
    pub(crate) webhook_url: Option<String>,
    /// The api-version of the question to the webhook.
    #[arg(long = "api-version", visible_alias = "av", value_name = "VERSION")]
    pub(crate) api_version: Option<String>,
    /// Deprecated: one hub, statically. Use --allocation-policy static --iot-hubs HUB.
    #[arg(long = "iot-hub-host-name", alias = "hn", value_name = "HUB", hide = true)]
    pub(crate) iot_hub_host_name: Option<String>,
}

impl SharedFields {
    /// Writes the options into a new document, with what `create` sends without being asked: no
    /// edge, an empty initial twin, and reprovisioning with migrated data (O §1.14).
    ///
    /// # Errors
    /// In the words of the vendor's CLI where it has some.
    pub(crate) fn write_new(&self, document: &mut Json) -> Result<(), Complaint> {
        document.set("capabilities", edge(self.edge_enabled.unwrap_or(false)));
        let section = |option, given: &Option<String>| match given {
            Some(given) => Ok(object(option, given)?.unwrap_or_else(Json::empty_object)),
            None => Ok::<_, Complaint>(Json::empty_object()),
        };
        let tags = section("--initial-twin-tags", &self.tags)?;
        let desired = section("--initial-twin-properties", &self.properties)?;
        document.set("initialTwin", twin(tags, desired));
        if let Some(status) = self.status()? {
            document.set("provisioningStatus", Json::from(status));
        }
        let policy = self.reprovision()?.unwrap_or_else(|| reprovision(true, true));
        document.set("reprovisionPolicy", policy);
        self.write_allocation(document)
    }

    /// Writes what was given into a document that was read; all else stays as it is, in its place.
    ///
    /// # Errors
    /// In the words of the vendor's CLI where it has some.
    pub(crate) fn write_changes(&self, document: &mut Json) -> Result<(), Complaint> {
        if let Some(enabled) = self.edge_enabled {
            document.set("capabilities", edge(enabled));
        }
        self.write_twin_changes(document)?;
        if let Some(status) = self.status()? {
            document.set("provisioningStatus", Json::from(status));
        }
        if let Some(policy) = self.reprovision()? {
            document.set("reprovisionPolicy", policy);
        }
        self.write_allocation(document)
    }

    fn write_twin_changes(&self, document: &mut Json) -> Result<(), Complaint> {
        let tags = self.tags.as_deref().map(|given| object("--initial-twin-tags", given));
        let desired =
            self.properties.as_deref().map(|given| object("--initial-twin-properties", given));
        if tags.is_none() && desired.is_none() {
            return Ok(());
        }
        let mut initial = match document.get("initialTwin") {
            Some(twin @ Json::Object(_)) => twin.clone(),
            _ => twin(Json::empty_object(), Json::empty_object()),
        };
        if let Some(tags) = tags {
            initial.set("tags", tags?.unwrap_or_else(Json::empty_object));
        }
        if let Some(desired) = desired {
            let mut properties = match initial.get("properties") {
                Some(properties @ Json::Object(_)) => properties.clone(),
                _ => Json::empty_object(),
            };
            properties.set("desired", desired?.unwrap_or_else(Json::empty_object));
            initial.set("properties", properties);
        }
        document.set("initialTwin", initial);
        Ok(())
    }

    /// Whether the enrollment is to be disabled.
    #[must_use]
    pub(crate) fn disables(&self) -> bool {
        matches!(self.status(), Ok(Some("disabled")))
    }

    fn status(&self) -> Result<Option<&'static str>, Complaint> {
        let Some(given) = self.provisioning_status.as_deref() else { return Ok(None) };
        match one_of(&STATUSES, given) {
            Some(status) => Ok(Some(status)),
            None => Err(Complaint::misuse("Invalid provisioning status.")
                .with_remedy(format!("`{given}` is not one of {}.", STATUSES.join(", ")))),
        }
    }

    fn reprovision(&self) -> Result<Option<Json>, Complaint> {
        let Some(given) = self.reprovision_policy.as_deref() else { return Ok(None) };
        Ok(Some(match given.to_ascii_lowercase().as_str() {
            "never" => reprovision(false, false),
            "reprovisionandmigratedata" => reprovision(true, true),
            "reprovisionandresetdata" => reprovision(true, false),
            _ => {
                return Err(Complaint::misuse("Invalid Reprovision Policy.").with_remedy(format!(
                    "`{given}` is not one of never, reprovisionandmigratedata, \
                     reprovisionandresetdata."
                )));
            }
        }))
    }

    /// Policy, hubs and webhook, checked together with what the document says already.
    fn write_allocation(&self, document: &mut Json) -> Result<(), Complaint> {
        let hubs: Vec<&str> = self.iot_hubs.iter().flat_map(|hub| hub.split_whitespace()).collect();
        let policy = self.policy()?;
        self.check_allocation(policy, &hubs, document)?;
        if let Some(hub) = &self.iot_hub_host_name {
            document.remove("iotHubHostName");
            document.set("allocationPolicy", Json::from("static"));
            document.set("iotHubs", Json::Array(vec![Json::from(hub.trim())]));
            return Ok(());
        }
        if let Some(policy) = policy {
            document.set("allocationPolicy", Json::from(policy));
        }
        if !hubs.is_empty() {
            document.remove("iotHubHostName");
            document.set("iotHubs", Json::Array(hubs.into_iter().map(Json::from).collect()));
        }
        if self.webhook_url.is_some() || self.api_version.is_some() {
            let mut custom = match document.get("customAllocationDefinition") {
                Some(custom @ Json::Object(_)) => custom.clone(),
                _ => Json::empty_object(),
            };
            if let Some(url) = &self.webhook_url {
                custom.set("webhookUrl", Json::from(url.as_str()));
            }
            if let Some(version) = &self.api_version {
                custom.set("apiVersion", Json::from(version.as_str()));
            }
            document.set("customAllocationDefinition", custom);
        }
        Ok(())
    }

    fn policy(&self) -> Result<Option<&'static str>, Complaint> {
        let Some(given) = self.allocation_policy.as_deref() else { return Ok(None) };
        match one_of(&ALLOCATION_POLICIES, given) {
            Some(policy) => Ok(Some(policy)),
            None => Err(Complaint::misuse("Please provide valid allocation policy.").with_remedy(
                format!("`{given}` is not one of {}.", ALLOCATION_POLICIES.join(", ")),
            )),
        }
    }

    fn check_allocation(
        &self,
        given: Option<&str>,
        hubs: &[&str],
        document: &Json,
    ) -> Result<(), Complaint> {
        let stored = document.get("allocationPolicy").and_then(Json::as_str);
        if given.is_some() && self.iot_hub_host_name.is_some() {
            return Err(Complaint::new(
                "'iot_hub_host_name' is not required when allocation-policy is defined.",
            ));
        }
        if given.or(stored).is_none() && !hubs.is_empty() {
            return Err(Complaint::new("Please provide allocation policy.")
                .with_remedy("For one hub: --allocation-policy static; for several: hashed."));
        }
        // What is stored already was accepted; only what this command changes is checked.
        let policy = if given.is_some() || !hubs.is_empty() { given.or(stored) } else { None };
        match policy {
            Some("static") => {
                let n_stored = match document.get("iotHubs") {
                    Some(Json::Array(stored)) => stored.len(),
                    _ => usize::from(document.get("iotHubHostName").is_some()),
                };
                match if hubs.is_empty() { n_stored } else { hubs.len() } {
                    0 => Err(Complaint::new("Please provide a hub to be assigned with device.")
                        .with_remedy("Name it with --iot-hubs HUB.")),
                    1 => Ok(()),
                    _ => {
                        Err(Complaint::new("Only one hub is required in static allocation policy."))
                    }
                }
            }
            Some("custom") if given.is_some() => {
                let stored = document.get("customAllocationDefinition");
                let has = |option: &Option<String>, name| {
                    option.is_some() || stored.is_some_and(|stored| stored.get(name).is_some())
                };
                if has(&self.webhook_url, "webhookUrl") && has(&self.api_version, "apiVersion") {
                    return Ok(());
                }
                Err(Complaint::new(
                    "Please provide both the Azure function webhook url and provisioning service \
                     api-version when the allocation-policy is defined as Custom.",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The option of a closed list that this text names, whatever its letter case.
pub(crate) fn one_of(options: &[&'static str], given: &str) -> Option<&'static str> {
    options.iter().copied().find(|option| option.eq_ignore_ascii_case(given))
}

fn edge(enabled: bool) -> Json {
    Json::Object(vec![("iotEdge".to_owned(), Json::from(enabled))])
}

fn twin(tags: Json, desired: Json) -> Json {
    let properties = Json::Object(vec![("desired".to_owned(), desired)]);
    Json::Object(vec![("tags".to_owned(), tags), ("properties".to_owned(), properties)])
}

fn reprovision(update_hub_assignment: bool, migrate_device_data: bool) -> Json {
    Json::Object(vec![
        ("updateHubAssignment".to_owned(), Json::from(update_hub_assignment)),
        ("migrateDeviceData".to_owned(), Json::from(migrate_device_data)),
    ])
}

#[cfg(test)]
mod tests;
