//! Whether there is memory to keep processes ahead of need. Reads what the kernel tells; keeps nothing itself.
#![forbid(unsafe_code)]

use std::fs;
use std::time::{Duration, Instant};

/// The kernel is asked at most this often.
const AGE: Duration = Duration::from_secs(1);
/// Below this much that can be had without swapping, or below a tenth of all where that is less, memory is short: more
/// would be refused to large machines that have plenty, and the kernel reclaims small ones at less.
const LEAST_KIB: u64 = 512 << 10;
/// Per cent of the last ten seconds in which some process waited for memory. It is 0.00 on a machine that has enough;
/// at a tenth, what is read back from disk competes with what a fork copies.
const MOST_PRESSURE: f64 = 10.0;

/// Remembers the last answer for a while.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: Option<(Instant, bool)>,
}

impl Memory {
    /// False where the kernel does not tell (macOS).
    pub(super) fn is_short(&mut self) -> bool {
        if let Some((at, short)) = self.last {
            if at.elapsed() < AGE {
                return short;
            }
        }
        // Either may be missing, or be kept from containers.
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let short = is_short(&text("/proc/meminfo"), &text("/proc/pressure/memory"));
        self.last = Some((Instant::now(), short));
        short
    }
}

fn is_short(meminfo: &str, pressure: &str) -> bool {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let is_scarce = match (kib("MemAvailable:"), kib("MemTotal:")) {
        (Some(available), Some(total)) => available < LEAST_KIB.min(total / 10),
        (_, _) => false,
    };
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let waited = some
        .and_then(|fields| {
            fields
                .split_whitespace()
                .find_map(|field| field.strip_prefix("avg10="))
        })
        .and_then(|value| value.parse::<f64>().ok());
    is_scarce || waited.is_some_and(|waited| waited > MOST_PRESSURE)
}

#[cfg(test)]
mod tests {
    use super::is_short;

    fn meminfo(total: u64, available: u64) -> String {
        format!(
            "MemTotal:       {total} kB\nMemFree:        1 kB\nMemAvailable:   {available} kB\n"
        )
    }

    #[test]
    fn memory_is_short_below_both_bounds_or_under_pressure() {
        let calm = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00\n";
        let tight = "some avg10=10.01 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00\n";
        let (large, small) = (64 << 20, 2 << 20);
        for (total, available, pressure, short) in [
            (large, 600 << 10, calm, false),
            (large, 511 << 10, calm, true),
            (small, 300 << 10, calm, false),
            (small, 200 << 10, calm, true),
            (large, 32 << 20, tight, true),
            (large, 32 << 20, "", false),
        ] {
            let text = meminfo(total, available);
            assert_eq!(is_short(&text, pressure), short, "{text}{pressure}");
        }
        assert!(!is_short("", ""), "a kernel that does not tell");
        assert!(is_short("MemTotal: 9 kB\n", tight), "an old kernel");
    }
}
