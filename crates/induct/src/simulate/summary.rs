//! What a simulation came to.

use std::{collections::HashMap, time::Duration};

use model::Json;

use super::{Figures, Outcome, Percentiles, device::Ended, timing::millis};
use crate::cli::document::members;

/// How many different reasons are told.
const MAX_REASONS: usize = 10;

/// What a simulation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many devices began.
    pub n_devices: u64,
    /// How many of them were not connected at the end although they tried.
    pub n_failed: u64,
    /// Why, the most frequent reason first, with the number of devices.
    pub reasons: Vec<(String, u64)>,
    /// How long it took.
    pub took: Duration,
    counts: Vec<(&'static str, u64)>,
    timings: Vec<(&'static str, Option<Percentiles>)>,
}

impl Summary {
    /// Sums up.
    #[must_use]
    pub fn new(ended: &[Ended], figures: &Figures, took: Duration) -> Self {
        let mut reasons: HashMap<String, u64> = HashMap::new();
        let mut n_failed = 0;
        for trouble in ended.iter().filter_map(|ended| match &ended.outcome {
            Outcome::Failed(trouble) => Some(trouble.to_string()),
            Outcome::Good | Outcome::TooEarly => None,
        }) {
            n_failed += 1;
            // A reason may name what differs from device to device, so they are bounded.
            if reasons.len() < MAX_REASONS || reasons.contains_key(&trouble) {
                *reasons.entry(trouble).or_default() += 1;
            }
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by(|(a, n_a), (b, n_b)| n_b.cmp(n_a).then_with(|| a.cmp(b)));
        let counts = vec![
            ("provisioned", figures.provisioned.get()),
            ("connections", figures.connections.get()),
            ("reconnects", figures.reconnects.get()),
            ("sent", figures.sent.get()),
            ("acknowledged", figures.acknowledged.get()),
            ("methodsAnswered", figures.methods.get()),
            ("twinsReported", figures.reports.get()),
            ("refused", figures.refused.get()),
            ("errors", figures.errors.get()),
        ];
        let timings = vec![
            ("provision", figures.provisioning.percentiles()),
            ("connect", figures.connecting.percentiles()),
            ("acknowledge", figures.acknowledging.percentiles()),
        ];
        let n_devices = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        Self { n_devices, n_failed, reasons, took, counts, timings }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Json {
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let mut json = members([
            ("devices", Json::from(self.n_devices)),
            ("failed", Json::from(self.n_failed)),
            ("durationMilliseconds", Json::from(took_ms)),
        ]);
        for (name, count) in &self.counts {
            json.set(name, Json::from(*count));
        }
        let mut timings = Json::empty_object();
        for (name, percentiles) in &self.timings {
            timings.set(name, percentiles.as_ref().map_or(Json::Null, Percentiles::json));
        }
        json.set("milliseconds", timings);
        let reasons = self.reasons.iter().map(|(reason, n)| {
            members([("devices", Json::from(*n)), ("reason", Json::from(reason.as_str()))])
        });
        json.set("reasons", Json::Array(reasons.collect()));
        json
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let count =
            |name: &str| self.counts.iter().find(|(n, _)| *n == name).map_or(0, |(_, n)| *n);
        let secs = self.took.as_secs_f64();
        let mut lines = vec![format!(
            "{} devices in {secs:.1} s: {} provisioned, {} connections, {} reconnects, {} failed.",
            self.n_devices,
            count("provisioned"),
            count("connections"),
            count("reconnects"),
            self.n_failed,
        )];
        let sent = count("sent");
        // Messages are far fewer than a float can count.
        let rate = if secs > 0.0 { sent as f64 / secs } else { 0.0 };
        lines.push(format!(
            "{sent} messages sent ({rate:.1} a second), {} acknowledged; {} method calls answered, \
             {} twins reported; {} refusals, {} errors.",
            count("acknowledged"),
            count("methodsAnswered"),
            count("twinsReported"),
            count("refused"),
            count("errors"),
        ));
        lines.push(String::new());
        let title = ["milliseconds", "count", "p50", "p95", "p99", "max"];
        lines.push(row(&title.map(str::to_owned)));
        for (name, percentiles) in &self.timings {
            let cells = match percentiles {
                None => ["0".to_owned(), "-".into(), "-".into(), "-".into(), "-".into()],
                Some(p) => {
                    let [p50, p95, p99, max] = p.named().map(|(_, micros)| millis(micros));
                    [p.count.to_string(), p50, p95, p99, max]
                }
            };
            let [n, p50, p95, p99, max] = cells;
            lines.push(row(&[format!("  {name}"), n, p50, p95, p99, max]));
        }
        for (reason, n) in &self.reasons {
            lines.push(String::new());
            lines.push(format!("{n} devices: {reason}"));
        }
        lines.join("\n")
    }
}

fn row([name, figures @ ..]: &[String; 6]) -> String {
    figures.iter().fold(format!("{name:<14}"), |line, figure| format!("{line}{figure:>11}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Trouble;

    fn ended(outcome: Outcome) -> Ended {
        Ended { outcome, made: None }
    }

    fn refused(why: &str) -> Ended {
        ended(Outcome::Failed(Trouble::Refused(why.to_owned())))
    }

    #[test]
    fn a_device_counts_as_failed_only_if_it_tried() {
        let all = [ended(Outcome::Good), ended(Outcome::TooEarly), refused("b"), refused("a")];
        let again = [refused("b")];
        let ended = [&all[..], &again].concat();
        let summary = Summary::new(&ended, &Figures::default(), Duration::from_secs(2));
        assert_eq!((summary.n_devices, summary.n_failed), (5, 3));
        assert_eq!(summary.reasons, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
    }

    #[test]
    fn reasons_are_told_up_to_a_number() {
        let ended: Vec<Ended> = (0..50).map(|i| refused(&format!("reason {i}"))).collect();
        let summary = Summary::new(&ended, &Figures::default(), Duration::ZERO);
        assert_eq!((summary.n_failed, summary.reasons.len()), (50, MAX_REASONS));
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let figures = Figures::default();
        (0..8).for_each(|_| figures.sent.add());
        (1..=8).for_each(|ms| figures.acknowledging.record(Duration::from_millis(ms)));
        let summary = Summary::new(&[ended(Outcome::Good)], &figures, Duration::from_secs(2));
        let json = summary.json();
        assert_eq!(json.get("sent"), Some(&Json::from(8)));
        let acknowledge = json.get("milliseconds").and_then(|all| all.get("acknowledge"));
        assert_eq!(acknowledge.and_then(|a| a.get("count")), Some(&Json::from(8)));
        let text = summary.text();
        assert!(text.contains("8 messages sent (4.0 a second)"), "{text}");
        let line = text.lines().find(|line| line.contains("acknowledge ")).expect("a line");
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[1], cells[5]), ("8", "8.000"), "{line}");
    }
}
