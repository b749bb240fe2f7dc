//! Deprovisioning as one act: a plan, its application, the receipt.
//!
//! A plan says, device by device, what would be done. Applying it first closes what is meant as a
//! whole (a group, a CA), then goes from device to device: all that is ours of one device is one
//! commit, together with the item of the receipt that says so, and with what remote hubs are to be
//! told ([`crate::remote`] tells them). So a crash anywhere leaves whole devices behind, and
//! [`App::work_off_deprovisionings`] goes on with the items that are still open. What is done to a
//! device is `decide::deprovision`'s.

mod begin;
mod certificate;
mod collect;
mod device;
mod facts;
mod plan;
mod work;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{DeprovisionItem, ItemState, OperatorRefusal, Page, Receipt, ReceiptId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

pub use self::{certificate::selected_certificate, plan::Planning};
use crate::{
    App, No,
    ports::{Bell, NoBell, NoStopwatch, Stopwatch},
};

/// How devices are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeprovisionSettings {
    /// How many devices are begun in a second; 0 means as many as can be.
    pub devices_per_second: u32,
    /// How many devices are worked on at a time.
    pub max_at_once: usize,
    /// How long ended sessions are waited for.
    pub close_wait: Duration,
}

impl Default for DeprovisionSettings {
    fn default() -> Self {
        let close_wait = Duration::from_secs(10);
        Self { devices_per_second: 500, max_at_once: 16, close_wait }
    }
}

/// What deprovisionings of this process share.
pub(crate) struct Deprovisionings {
    settings: DeprovisionSettings,
    bell: Arc<dyn Bell>,
    stopwatch: Arc<dyn Stopwatch>,
    /// Those that somebody works on in this process: one at a time each.
    taken: Rights,
    /// Those whose first commit ended sessions that somebody waits for.
    closing: Rights,
    /// Places for devices that are worked on at a time, whatever deprovisioning they are of.
    places: Semaphore,
    /// When the next device may be begun, by the stopwatch.
    next_device: Mutex<Duration>,
    /// How often the store had a fault with an item, by its number.
    faults: Mutex<HashMap<(ReceiptId, u64), u32>>,
    /// How many were looked at for the plans that are being made.
    looked_at: Mutex<HashMap<ReceiptId, u64>>,
}

impl Default for Deprovisionings {
    fn default() -> Self {
        Self::new(DeprovisionSettings::default(), Arc::new(NoBell), Arc::new(NoStopwatch))
    }
}

impl fmt::Debug for Deprovisionings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deprovisionings").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Rights to do something with a deprovisioning in this process: whoever has one has it alone.
#[derive(Debug, Default)]
struct Rights(Mutex<HashMap<ReceiptId, Arc<AsyncMutex<()>>>>);

/// Such a right.
struct Taken<'a> {
    all: &'a Rights,
    id: ReceiptId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = locked(&self.all.0);
        self.guard = None;
        // Nobody else holds it or waits for it: those who do have a share in it.
        if taken.get(&self.id).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            taken.remove(&self.id);
        }
    }
}

impl Rights {
    fn mutex(&self, id: &ReceiptId) -> Arc<AsyncMutex<()>> {
        Arc::clone(locked(&self.0).entry(id.clone()).or_default())
    }

    /// Waits for the right.
    async fn take(&self, id: &ReceiptId) -> Taken<'_> {
        let guard = Some(self.mutex(id).lock_owned().await);
        Taken { all: self, id: id.clone(), guard }
    }

    /// The right, unless somebody has it.
    fn try_take(&self, id: &ReceiptId) -> Option<Taken<'_>> {
        let guard = Some(self.mutex(id).try_lock_owned().ok()?);
        Some(Taken { all: self, id: id.clone(), guard })
    }
}

/// Who looks for the devices of a plan.
struct Looking<'a> {
    all: &'a Deprovisionings,
    id: ReceiptId,
}

impl Looking<'_> {
    fn at(&self, n: u64) {
        locked(&self.all.looked_at).insert(self.id.clone(), n);
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        locked(&self.all.looked_at).remove(&self.id);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deprovisionings {
    fn new(
        settings: DeprovisionSettings,
        bell: Arc<dyn Bell>,
        stopwatch: Arc<dyn Stopwatch>,
    ) -> Self {
        Self {
            settings,
            bell,
            stopwatch,
            taken: Rights::default(),
            closing: Rights::default(),
            places: Semaphore::new(settings.max_at_once.clamp(1, Semaphore::MAX_PERMITS)),
            next_device: Mutex::default(),
            faults: Mutex::default(),
            looked_at: Mutex::default(),
        }
    }

    /// Waits for a place to work on a device. Whoever came first has it first, so that the few
    /// devices of one deprovisioning do not wait for the many of another.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.places.acquire().await.ok()
    }

    /// How many were looked at so far for a plan that is being made here.
    fn looked_at(&self, id: &ReceiptId) -> u64 {
        locked(&self.looked_at).get(id).copied().unwrap_or_default()
    }

    /// Tells how many are looked at for a plan, for as long as this is held.
    fn looking(&self, id: &ReceiptId) -> Looking<'_> {
        Looking { all: self, id: id.clone() }
    }

    /// Counts a fault of the store with an item: how many there were.
    fn count_fault(&self, id: &ReceiptId, number: u64) -> u32 {
        let mut faults = locked(&self.faults);
        let n = faults.entry((id.clone(), number)).or_default();
        *n = n.saturating_add(1);
        *n
    }

    fn forget_fault(&self, id: &ReceiptId, number: u64) {
        let mut faults = locked(&self.faults);
        // There are none but on bad days.
        if !faults.is_empty() {
            faults.remove(&(id.clone(), number));
        }
    }

    fn forget_faults(&self, id: &ReceiptId) {
        locked(&self.faults).retain(|(of, _), _| of != id);
    }

    /// Waits until another device may be begun.
    async fn pace(&self) {
        let per_second = self.settings.devices_per_second;
        if per_second == 0 {
            return;
        }
        let now = self.stopwatch.elapsed();
        let turn = {
            let mut next = locked(&self.next_device);
            let turn = (*next).max(now);
            *next = turn + Duration::from_secs(1) / per_second;
            turn
        };
        if turn > now {
            self.stopwatch.pause(turn - now).await;
        }
    }
}

impl App {
    /// The same, with these settings for deprovisioning and a bell that wakes whoever calls
    /// [`Self::work_off_deprovisionings`].
    #[must_use]
    pub fn with_deprovisioning(
        self,
        settings: DeprovisionSettings,
        bell: Arc<dyn Bell>,
        stopwatch: Arc<dyn Stopwatch>,
    ) -> Self {
        let all = Deprovisionings::new(settings, bell, stopwatch);
        Self { deprovisionings: Arc::new(all), ..self }
    }

    /// A plan or receipt, with how far it is.
    ///
    /// # Errors
    /// [`OperatorRefusal::ReceiptNotFound`], or a fault.
    pub async fn deprovisioning(&self, id: &ReceiptId) -> Result<Receipt, No<OperatorRefusal>> {
        let found = self.store.find_receipt(id).await?;
        let mut found =
            found.ok_or_else(|| No::Refused(OperatorRefusal::ReceiptNotFound(id.to_string())))?;
        found.counts.looked_at = self.deprovisionings.looked_at(id);
        Ok(found)
    }

    /// Plans and receipts, the latest first, those after the key `after`, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_deprovisionings(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Receipt>, No<OperatorRefusal>> {
        Ok(self.store.list_receipts(after, limit).await?)
    }

    /// Devices of a plan or receipt that stand so, after the number `after`, at most `limit`.
    ///
    /// # Errors
    /// [`OperatorRefusal::ReceiptNotFound`], or a fault.
    pub async fn list_deprovision_items(
        &self,
        id: &ReceiptId,
        state: Option<ItemState>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeprovisionItem>, No<OperatorRefusal>> {
        let items = self.store.list_receipt_items(id, state, after, limit).await?;
        if items.is_empty() {
            self.deprovisioning(id).await?;
        }
        Ok(items)
    }
}
