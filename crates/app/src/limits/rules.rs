//! The IP rules, which are asked before anything else is looked at: from memory, because those who
//! are refused for ever ask the most.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use decide::manage::network::{self, Api};
use model::ServiceSettings;
use store::{SettingsMark, StoreFault};

use crate::App;

/// The service's settings as they were last read, with the mark from before that. While the store's
/// mark is the same, so are they: whoever hears that new ones are written meets none from before.
#[derive(Debug, Default)]
pub(crate) struct KnownSettings(Mutex<Option<(SettingsMark, Arc<ServiceSettings>)>>);

impl KnownSettings {
    fn find(&self, mark: SettingsMark) -> Option<Arc<ServiceSettings>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(of, _)| *of == mark).map(|(_, settings)| Arc::clone(settings))
    }

    fn keep(&self, mark: SettingsMark, settings: &Arc<ServiceSettings>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((mark, Arc::clone(settings)));
    }
}

impl App {
    /// Whether the rules let this address ask.
    pub(super) async fn admits(&self, address: IpAddr, api: Api) -> Result<bool, StoreFault> {
        let settings = self.known_settings().await?;
        Ok(network::admits(&settings, address, api).is_ok())
    }

    async fn known_settings(&self) -> Result<Arc<ServiceSettings>, StoreFault> {
        // Before the settings: what is written after it moves it.
        let mark = self.store.marks().of_settings();
        if let Some(settings) = self.known_settings.find(mark) {
            return Ok(settings);
        }
        let settings = Arc::new(self.store.service_facts().await?.settings);
        self.known_settings.keep(mark, &settings);
        Ok(settings)
    }
}
