//! Whether KVM carries a real kernel here, or QEMU has to emulate.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{Firmware, qemu};

/// With KVM a kernel says its first words within two or three seconds. Where it does not (nested kinds of
/// KVM that only take kernels made for them), firmware starts all the same and the kernel hangs.
const FIRST_WORDS: Duration = Duration::from_secs(15);

/// What carries a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The host's processor.
    Kvm,
    /// Emulation: some ten times slower.
    Tcg,
}

impl Accel {
    pub(super) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg", "-cpu", "max"],
        }
    }
}

/// What works here, found out once with `disk`'s own kernel.
pub(super) fn working(disk: &Path) -> Accel {
    static FOUND: OnceLock<Accel> = OnceLock::new();
    *FOUND.get_or_init(|| if hardware() && boots(disk) { Accel::Kvm } else { Accel::Tcg })
}

/// `/dev/kvm` may exist without the processor's help, and then takes no stock kernel.
fn hardware() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let helps = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    helps && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn boots(disk: &Path) -> bool {
    let mut command = qemu(disk, Firmware::Bios, Accel::Kvm);
    command.args(["-m", "1024", "-nic", "none"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("setpriv of util-linux starts qemu-system-x86_64");
    let output = child.stdout.take().expect("the serial console is piped");
    let (said, hear) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        if lines.any(|line| String::from_utf8_lossy(&line).contains("Linux version")) {
            // Nobody hears what comes too late.
            let _ = said.send(());
        }
    });
    let spoke = hear.recv_timeout(FIRST_WORDS).is_ok();
    let _ = child.kill();
    let _ = child.wait();
    spoke
}
