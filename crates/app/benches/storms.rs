//! What a device that is refused again and again costs, and whether the others notice it.
//!
//! First what an admission costs, and what the same refusal once more does, in one run and beside
//! each other: calls a second with as many under way at once, and processor time of the whole
//! process. Then how long healthy devices wait that come at a steady rate: alone; when nineteen
//! times as many are refused; and when nothing of those is remembered.
//!
//! The store is the embedded one; attempts are written as a server does. There is no network and
//! no TLS, which would be the same for all and blur the ratio.
//!
//! Run with `cargo bench -p induct-app --bench storms`. Put `TMPDIR` on the disk to be measured.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::{
    fs,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use decide::{
    attestation::AttestSettings,
    manage::DEFAULT_QUOTAS,
    register::RegisterSettings,
    scenes::{SCOPE, draft, keys, name, signing},
};
use induct_app::{
    App, AppSettings, No,
    device::HubLimits,
    first_start::{self, Declared, DeclaredHub},
    limits::{DeviceCall, RateSettings},
    ports::{Clock, Entropy, NoAllocationHook},
    refusals::StormSettings,
    visits::{TurnedAway, Visit},
};
use model::{
    AllocationPolicy, ApiVersion, Caller, Door, EnrollmentGroupId, Evidence, GroupDraft, HubName,
    IdScope, IndividualDraft, Precondition, ProvisioningStatus, RegisterRequest, RegistrationId,
    Sent, SymmetricKey, Timestamp,
};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{Ca, ClientStyle, DeviceToken, NOW, certificates::Credential};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// How many ask at once.
const N_AT_ONCE: u64 = 32;

/// How many devices of each kind there are.
const N_DEVICES: u64 = 512;

/// How many healthy devices come in a second.
const HEALTHY_A_SECOND: u64 = 50;

/// How many are refused for each of them: 95 in a hundred.
const REFUSED_FOR_EACH: u64 = 19;

fn main() {
    let asked = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    if asked("--list") {
        return;
    }
    let is_whole = asked("--bench") && !asked("--test");
    let measured = Duration::from_millis(if is_whole { 5000 } else { 100 });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        costs(measured).await;
        latencies(measured).await;
    });
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// It has a hub, and registers again.
    Healthy,
    /// It shows a chain that no group knows.
    Chain,
    /// It signs a new token with a wrong key each time.
    WrongKey,
    /// It signs a new token each time, and nothing of its name is enrolled.
    Unknown,
    /// Its enrollment is disabled; it shows a chain.
    Disabled,
    /// Its enrollment is disabled; it signs a new token each time.
    DisabledKey,
}

const ALL: [(Who, &str); 6] = [
    (Who::Healthy, "admission"),
    (Who::Chain, "refused: unknown chain"),
    (Who::WrongKey, "refused: new token, wrong key"),
    (Who::Unknown, "refused: new token, not enrolled"),
    (Who::Disabled, "disabled: chain"),
    (Who::DisabledKey, "disabled: new token"),
];

async fn costs(measured: Duration) {
    println!(
        "{:<36}{:>12}{:>10}{:>12}{:>10}",
        "in memory of 100,000 refusals", "a second", "ratio", "CPU, us", "ratio"
    );
    let scene = Scene::new(StormSettings::default()).await;
    let mut admission = None;
    for (who, text) in ALL {
        // Everybody has been told once; from here on it is again.
        scene.run(who, Duration::ZERO).await;
        let cpu = cpu_secs();
        let (n, took) = scene.run(who, measured).await;
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
        let n = n as f64;
        let (rate, cpu_us) = (n / took.as_secs_f64(), (cpu_secs() - cpu) * 1e6 / n);
        let (first_rate, first_us) = *admission.get_or_insert((rate, cpu_us));
        println!(
            "{text:<36}{rate:>12.0}{:>10.3}{cpu_us:>12.1}{:>10.3}",
            first_rate / rate,
            cpu_us / first_us
        );
    }
    scene.close().await;
}

async fn latencies(measured: Duration) {
    println!(
        "{:<36}{:>12}{:>12}{:>12}{:>12}",
        "healthy devices, 50 a second", "p50, ms", "p99, ms", "max, ms", "p99 ratio"
    );
    let remembers = StormSettings::default();
    let forgets = StormSettings { max_remembered: 0, ..remembers };
    let mut alone = None;
    for (text, settings, is_storm) in [
        ("alone", remembers, false),
        ("95 % refused", remembers, true),
        ("95 % refused, nothing remembered", forgets, true),
    ] {
        let scene = Scene::new(settings).await;
        let mut waits = scene.healthy_under_storm(measured, is_storm).await;
        scene.close().await;
        waits.sort_by(f64::total_cmp);
        let p99 = percentile(&waits, 99);
        let ratio = p99 / *alone.get_or_insert(p99);
        let max = waits.last().copied().unwrap_or_default();
        println!("{text:<36}{:>12.2}{p99:>12.2}{max:>12.2}{ratio:>12.2}", percentile(&waits, 50));
    }
}

/// An instance with its devices.
struct Scene {
    app: App,
    requests: Arc<Requests>,
    writer: JoinHandle<()>,
    folder: TempDir,
}

/// What the devices ask; chains are made once.
struct Requests {
    chains: Vec<Credential>,
    /// Makes every token a new one.
    n_tokens: AtomicU64,
}

struct Moving(Instant);

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        let nanos = i64::try_from(self.0.elapsed().as_nanos()).expect("a short run");
        Timestamp::from_ticks(NOW.ticks() + nanos / 100)
    }
}

#[derive(Default)]
struct Dice(AtomicU64);

impl Entropy for Dice {
    fn fill(&self, buffer: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let bytes: [u8; 64] = testkit::entropy::bytes(n, "bench");
        buffer.copy_from_slice(&bytes[..buffer.len()]);
    }
}

impl Scene {
    async fn new(storms: StormSettings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(SqliteSettings {
            path: folder.path().join("induct.db"),
            n_readers: 2,
            max_waiting: 1024,
            max_batch: 256,
            master_key: MasterKey::generate([42; 32]),
        });
        let store: Arc<dyn Store> = Arc::new(store.expect("opened"));
        let hub = DeclaredHub {
            name: HubName::parse("hub-1.example.test").expect("legal"),
            weight: 1,
            apply_allocation_policy: true,
        };
        let declared = Declared { hubs: vec![hub], allocation_policy: AllocationPolicy::Hashed };
        let (dice, clock) = (Arc::new(Dice::default()), Arc::new(Moving(Instant::now())));
        first_start::prepare(&*store, &*dice, &*clock, &declared).await.expect("prepared");
        let settings = AppSettings {
            service_hosts: vec!["localhost".to_owned()],
            register: RegisterSettings {
                attest: AttestSettings {
                    id_scope: IdScope::parse(SCOPE).expect("legal"),
                    clock_skew_secs: 300,
                    limits: attest::chain::Limits::default(),
                },
                max_registrations: DEFAULT_QUOTAS.registrations,
            },
            quotas: DEFAULT_QUOTAS,
            rates: RateSettings::default(),
            hub_limits: HubLimits::default(),
        };
        let app = App::new(store, clock, dice, Arc::new(NoAllocationHook), settings);
        let app = app.with_storm_settings(storms);
        let (known, stranger) = (Ca::root("known"), Ca::root("stranger"));
        enroll_group(&app, "disabled", signing(Some(known.der()), None)).await;
        enroll_group(&app, "healthy", keys(&name::key(1), &name::key(2))).await;
        let chains = (0..8).flat_map(|n| {
            let leaf = |ca: &Ca, who| ca.leaf(&device(who, n));
            [leaf(&stranger, Who::Chain), leaf(&known, Who::Disabled)]
        });
        let requests = Arc::new(Requests { chains: chains.collect(), n_tokens: AtomicU64::new(0) });
        for n in 0..N_DEVICES {
            enroll(&app, &device(Who::WrongKey, n), true).await;
            enroll(&app, &device(Who::DisabledKey, n), false).await;
        }
        let writer = tokio::spawn(write_attempts(app.clone()));
        Self { app, requests, writer, folder }
    }

    /// Asks again and again, many at once, but each device at least once; how often, in which time.
    async fn run(&self, who: Who, measured: Duration) -> (u64, Duration) {
        let (began, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut askers = JoinSet::new();
        for first in 0..N_AT_ONCE {
            let (app, requests, count) =
                (self.app.clone(), Arc::clone(&self.requests), Arc::clone(&count));
            askers.spawn(async move {
                let mut n = first;
                while n < N_DEVICES || began.elapsed() < measured {
                    requests.ask(&app, who, n % N_DEVICES).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    n += N_AT_ONCE;
                }
            });
        }
        askers.join_all().await;
        (count.load(Ordering::Relaxed), began.elapsed())
    }

    /// How long healthy devices wait for their admission, in milliseconds, from the moment they
    /// should have asked at.
    async fn healthy_under_storm(&self, measured: Duration, is_storm: bool) -> Vec<f64> {
        for (who, _) in ALL {
            self.run(who, Duration::ZERO).await;
        }
        let began = Instant::now();
        let (app, requests) = (self.app.clone(), Arc::clone(&self.requests));
        let storm = is_storm.then(|| tokio::spawn(storm(app, requests, began, measured)));
        let mut waits = JoinSet::new();
        let mut ticks = interval(Duration::from_millis(1000 / HEALTHY_A_SECOND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut n = 0;
        while began.elapsed() < measured || n < 3 {
            let due = ticks.tick().await;
            let (app, requests) = (self.app.clone(), Arc::clone(&self.requests));
            waits.spawn(async move {
                requests.ask(&app, Who::Healthy, n % N_DEVICES).await;
                due.elapsed().as_secs_f64() * 1000.0
            });
            n += 1;
        }
        let waits = waits.join_all().await;
        if let Some(storm) = storm {
            storm.await.expect("the storm is over");
        }
        waits
    }

    async fn close(self) {
        self.writer.abort();
        self.app.write_attempts().await.expect("written");
        drop((self.app, self.folder));
    }
}

/// Nineteen refused devices for each healthy one, of every kind.
async fn storm(app: App, requests: Arc<Requests>, began: Instant, measured: Duration) {
    let mut askers = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1000 / HEALTHY_A_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut n = 0;
    while began.elapsed() < measured {
        ticks.tick().await;
        for _ in 0..REFUSED_FOR_EACH {
            let (app, requests) = (app.clone(), Arc::clone(&requests));
            let place = usize::try_from(n).unwrap_or(0) % (ALL.len() - 1);
            let who = ALL[place + 1].0;
            askers.spawn(async move { requests.ask(&app, who, n % N_DEVICES).await });
            n += 1;
        }
        while askers.try_join_next().is_some() {}
    }
    askers.join_all().await;
}

impl Requests {
    /// Asks, and looks that the answer is the one that this device gets.
    async fn ask(&self, app: &App, who: Who, n: u64) {
        let device = device(who, n);
        // Whether it is another token is told by when it ends.
        let number = self.n_tokens.fetch_add(1, Ordering::Relaxed);
        let secs = 86_400 + i64::try_from(number).expect("a short run");
        let chain = |offset: usize| {
            let place = usize::try_from(n % 8).unwrap_or(0) * 2 + offset;
            Evidence::X509(self.chains[place].chain())
        };
        let evidence = match who {
            Who::Healthy => {
                let key = testkit::sas::derive_device_key(&name::key(1), &device);
                token(&device, &key, secs)
            }
            Who::Chain => chain(0),
            Who::Disabled => chain(1),
            Who::WrongKey | Who::Unknown => token(&device, &name::key(9), secs),
            Who::DisabledKey => token(&device, &name::key(3), secs),
        };
        let request = RegisterRequest {
            registration_id: RegistrationId::parse(&device).expect("legal"),
            evidence,
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        let tracking_id = app.tracking_id();
        let [_, _, high, low] = u32::try_from(n).unwrap_or(0).to_be_bytes();
        let address = IpAddr::from([10, 0, high, low]);
        let visit = Visit { tracking_id: &tracking_id, door: Door::Https, address };
        // As the doors do.
        let admitted =
            app.admit_device(address, &request.registration_id, DeviceCall::Register).await;
        admitted.expect("no rule and no rate keeps it out");
        let told = app.register_from(&visit, SCOPE, request).await;
        let is_accepted = matches!(who, Who::Healthy | Who::Disabled | Who::DisabledKey);
        match told {
            Ok(_) if is_accepted => {}
            Err(TurnedAway { no: No::Refused(_), .. }) if !is_accepted => {}
            other => panic!("{who:?} heard {other:?}"),
        }
    }
}

/// As a server does.
async fn write_attempts(app: App) {
    loop {
        sleep(Duration::from_millis(500)).await;
        app.write_attempts().await.expect("written");
    }
}

/// Those with chains are few, because chains take long to make; addresses tell them apart.
fn device(who: Who, n: u64) -> String {
    match who {
        Who::Chain | Who::Disabled => format!("{who:?}-{}", n % 8),
        Who::Healthy | Who::WrongKey | Who::Unknown | Who::DisabledKey => format!("{who:?}-{n}"),
    }
}

fn token(device: &str, key: &SymmetricKey, secs: i64) -> Evidence {
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: device,
        key,
        expiry_unix_secs: NOW.unix_secs() + secs,
    };
    Evidence::Sas(token.parsed())
}

fn by() -> Caller {
    Caller { policy: "bench".to_owned(), address: None }
}

async fn enroll(app: &App, device: &str, enabled: bool) {
    let mut draft = draft(keys(&name::key(3), &name::key(4)));
    if !enabled {
        draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    }
    let draft = IndividualDraft {
        registration_id: RegistrationId::parse(device).expect("legal"),
        device_id: None,
        optional_device_information: None,
        draft,
    };
    app.put_individual(draft, &Precondition::None, &by()).await.expect("enrolled");
}

/// The group of this name is disabled if it is called so.
async fn enroll_group(app: &App, group: &str, attestation: model::AttestationDraft) {
    let mut draft = draft(attestation);
    if group == "disabled" {
        draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    }
    let group_id = EnrollmentGroupId::parse(group).expect("legal");
    let group = GroupDraft { group_id, draft };
    app.put_group(group, &Precondition::None, &by()).await.expect("enrolled");
}

/// The processor time of this process, in seconds.
fn cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("readable");
    // After the name, which may hold anything, user and system time are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// The value below which so many of a hundred lie; the values are sorted.
fn percentile(sorted: &[f64], share: usize) -> f64 {
    let place = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}
