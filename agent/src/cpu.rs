//! How the CPUs spent their time between two reads of `/proc/stat`.

use crate::board::Cpu;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// `/proc/stat`, kept open: each read from its start is a new count.
#[derive(Debug)]
pub struct Stat(File);

impl Stat {
    /// The machine's.
    pub fn open() -> std::io::Result<Self> {
        Self::at(Path::new("/proc/stat"))
    }

    fn at(path: &Path) -> std::io::Result<Self> {
        File::open(path).map(Self)
    }

    /// The ticks so far; `None` when it cannot be read.
    pub fn read(&self) -> Option<Ticks> {
        // Room for the first line: "cpu" and ten numbers of twenty digits.
        let mut head = [0; 256];
        let length = self.0.read_at(&mut head, 0).ok()?;
        Ticks::parse(&String::from_utf8_lossy(&head[..length]))
    }
}

/// The first line of `/proc/stat`, in ticks since boot (`proc_stat(5)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

impl Ticks {
    /// Reads the line `cpu user nice system idle iowait irq softirq steal …`. Time of guests is part of user.
    pub fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || fields.next()?.ok();
        let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
        // Kernels since 2.6.11 have all eight; a container's stand-in may not.
        let (iowait, irq, softirq, steal) =
            (next().unwrap_or(0), next().unwrap_or(0), next().unwrap_or(0), next().unwrap_or(0));
        Some(Self {
            user: user.saturating_add(nice),
            system: system.saturating_add(irq).saturating_add(softirq),
            idle,
            iowait,
            steal,
        })
    }

    /// Shares in percent since `earlier`; `None` when no time has passed.
    ///
    /// `utilization` is all but idle and iowait. Steal is in it: it is work that wants a CPU, which is what scaling
    /// goes by. Single counters may run backwards (iowait does); such a step counts as none.
    pub fn since(&self, earlier: &Self) -> Option<Cpu> {
        let step = |now: u64, then: u64| now.saturating_sub(then);
        let [user, system, idle, iowait, steal] = [
            step(self.user, earlier.user),
            step(self.system, earlier.system),
            step(self.idle, earlier.idle),
            step(self.iowait, earlier.iowait),
            step(self.steal, earlier.steal),
        ];
        let total =
            [user, system, idle, iowait, steal].iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
        if total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "ticks of one interval are far below 2^52")]
        let percent = |part: u64| (part as f64 * 100.0 / total as f64).clamp(0.0, 100.0);
        Some(Cpu {
            utilization: percent(user.saturating_add(system).saturating_add(steal)),
            user: percent(user),
            system: percent(system),
            iowait: percent(iowait),
            steal: percent(steal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_of_the_time_between_two_reads() {
        let then = Ticks::parse("cpu  100 10 50 1000 20 3 7 5 0 0\ncpu0 1 2\n").expect("a whole line");
        let now = Ticks::parse("cpu  130 20 60 1020 30 3 17 15 0 0\n").expect("a whole line");
        let cpu = now.since(&then).expect("time has passed");
        assert_eq!((cpu.user, cpu.system, cpu.iowait, cpu.steal), (40.0, 20.0, 10.0, 10.0));
        assert!((cpu.utilization - 70.0).abs() < 1e-9);
    }

    #[test]
    fn each_read_is_a_new_count() {
        let folder = tempfile::tempdir().expect("a folder for the file");
        let path = folder.path().join("stat");
        let longest = format!("cpu{}\ncpu0 1", format!(" {}", u64::MAX).repeat(10));
        std::fs::write(&path, &longest).expect("the folder is ours");
        let stat = Stat::at(&path).expect("it is there");
        assert_eq!(stat.read(), Ticks::parse(&longest));
        std::fs::write(&path, "cpu 1 2 3 4").expect("the folder is ours");
        assert_eq!(stat.read(), Ticks::parse("cpu 1 2 3 4"));
        std::fs::write(&path, "").expect("the folder is ours");
        assert_eq!(stat.read(), None);
    }

    #[test]
    fn the_machine_has_ticks() {
        assert!(Stat::open().expect("every Linux has it").read().is_some());
    }

    #[test]
    fn no_time_and_counters_that_run_back_make_no_nonsense() {
        let ticks = |line| Ticks::parse(line).expect("a whole line");
        let then = ticks("cpu 10 0 10 10 10 0 0 0");
        assert_eq!(then.since(&then), None);
        let back = ticks("cpu 10 0 10 20 5 0 0 0").since(&then).expect("idle has passed");
        assert!(back.utilization.abs() < 1e-9 && back.iowait.abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_share_or_nothing(a in "cpu( [0-9]{1,20}){0,11}", b in "cpu( [0-9]{1,20}){0,11}") {
            if let (Some(then), Some(now)) = (Ticks::parse(&a), Ticks::parse(&b))
                && let Some(cpu) = now.since(&then)
            {
                prop_assert!((0.0..=100.0).contains(&cpu.utilization) && cpu.utilization.is_finite());
            }
        }
    }
}
