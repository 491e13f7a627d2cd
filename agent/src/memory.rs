//! How much of the memory is in use.

use crate::board::Space;

/// Where the kernel says it.
pub const PATH: &str = "/proc/meminfo";

/// Reads `MemTotal` and `MemAvailable` (`proc_meminfo(5)`): what is neither free nor to be had by dropping caches is in
/// use. `None` when either is missing, or they make no sense.
pub fn parse(meminfo: &str) -> Option<Space> {
    let field = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kilobytes.checked_mul(1024)
    };
    let (total, available) = (field("MemTotal")?, field("MemAvailable")?);
    Some(Space { used_bytes: total.checked_sub(available)?, total_bytes: total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_caches_hold_is_not_in_use() {
        let text =
            "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     750 kB\nBuffers: 1 kB\n";
        let space = parse(text).expect("both are there");
        assert_eq!(space, Space { used_bytes: 250 * 1024, total_bytes: 1000 * 1024 });
        assert!(space.percent().is_some_and(|percent| (percent - 25.0).abs() < 1e-9));
        assert_eq!(parse("MemTotal: 1000 kB\n"), None);
        assert_eq!(parse("MemTotal: 1 kB\nMemAvailable: 2 kB\n"), None);
        assert_eq!(parse("MemTotal: 99999999999999999999 kB\nMemAvailable: 2 kB\n"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let space = std::fs::read_to_string(PATH).ok().as_deref().and_then(parse).expect("Linux says it");
        assert!(space.percent().is_some_and(|percent| percent > 0.0 && percent <= 100.0), "{space:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_share_or_nothing(text in "((MemTotal|MemAvailable|x):? *[0-9]{0,21} ?(kB)?\n?){0,4}") {
            if let Some(percent) = parse(&text).and_then(|space| space.percent()) {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
        }
    }
}
