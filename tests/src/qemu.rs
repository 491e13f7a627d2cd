//! A virtual machine that boots a baked disk, sealed off: it reaches a metadata service and nothing else.
//!
//! ```text
//!  127.0.0.1:PORT ──▶ :80 guest ──▶ 169.254.169.254:80 ── socat ──▶ metadata on 127.0.0.1
//!                                └▶ 169.254.169.250:80 ── socat ──▶ AWS stand-in on 127.0.0.1, if there is one
//! ```
//! No privileges, no interface of the host. The disk under test is never written: QEMU keeps changes in a
//! file without a name, which is gone with the process, as the process is gone with the test.

mod accel;
mod http;
mod metadata;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub use accel::Accel;
pub use http::Answer;
pub use metadata::Metadata;

/// Between two requests to a guest that does not answer yet.
const ASK: Duration = Duration::from_millis(500);
/// Lines of the serial console that a failure quotes.
const TAIL: usize = 40;

/// What starts the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`: the first sector.
    Bios,
    /// OVMF: the EFI system partition.
    Uefi,
}

/// How to boot; [`Machine::new`] and change what a story needs.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What starts the disk.
    pub firmware: Firmware,
    /// What 169.254.169.254 answers.
    pub metadata: Metadata,
    /// Who answers at 169.254.169.250:80, the address that images of a rehearsal know as AWS.
    pub aws: Option<SocketAddr>,
    /// The machine's maker, as firmware tells it: `Xen` on older instance types.
    pub vendor: Option<&'static str>,
    /// MiB of memory.
    pub memory: u32,
}

impl Machine {
    /// A machine with a metadata service that knows no user data, no group and no role.
    pub fn new(firmware: Firmware) -> Self {
        Self { firmware, metadata: Metadata::default(), aws: None, vendor: None, memory: 1024 }
    }

    /// Starts the disk and returns at once.
    ///
    /// # Panics
    /// When QEMU cannot be started.
    pub fn boot(&self, disk: &Path) -> Guest {
        let accel = accel::working(disk);
        let metadata = self.metadata.serve();
        let port = free_port();
        let mut forwards = format!(",hostfwd=tcp:127.0.0.1:{port}-:80");
        let targets = [("169.254.169.254", Some(metadata)), ("169.254.169.250", self.aws)];
        for (address, target) in targets {
            if let Some(target) = target {
                let _ = write!(forwards, ",guestfwd=tcp:{address}:80-cmd:socat - TCP4:{target}");
            }
        }
        let mut command = qemu(disk, self.firmware, accel);
        command.args(["-m", &self.memory.to_string(), "-netdev"]);
        command.arg(format!(
            "user,id=net,restrict=on,ipv6=off,net=169.254.0.0/16,host=169.254.0.1,dns=169.254.0.3,\
             dhcpstart=169.254.10.10{forwards}"
        ));
        command.args(["-device", "virtio-net-pci,netdev=net"]);
        if let Some(vendor) = self.vendor {
            command.args(["-smbios", &format!("type=1,manufacturer={vendor}")]);
        }
        Guest::start(command, port, accel)
    }
}

/// A running machine; dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    console: Arc<Mutex<String>>,
    lines: Receiver<()>,
    port: u16,
    started: Instant,
    accel: Accel,
}

impl Guest {
    /// Boots `disk` on a [`Machine::new`].
    pub fn boot(disk: &Path, firmware: Firmware) -> Self {
        Machine::new(firmware).boot(disk)
    }

    fn start(mut command: Command, port: u16, accel: Accel) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("setpriv of util-linux starts qemu-system-x86_64");
        let output = child.stdout.take().expect("the serial console is piped");
        let console = Arc::new(Mutex::new(String::new()));
        let (ended, lines) = channel();
        let log = Arc::clone(&console);
        thread::spawn(move || {
            // Dropped at the console's end, which is the machine's end.
            let _ended = ended;
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line);
                let mut log = log.lock().expect("no writer panics");
                log.push_str(text.trim_end());
                log.push('\n');
            }
        });
        Self { child, console, lines, port, started: Instant::now(), accel }
    }

    /// Where the guest's port 80 is on this machine.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same as the start of an address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What carried it.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the serial console has shown.
    pub fn console(&self) -> String {
        self.console.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// One request for `path`, answered or not.
    pub fn get(&self, path: &str) -> Option<Answer> {
        http::get(self.address(), path, Duration::from_secs(10)).ok()
    }

    /// Asks for `path` until it is answered with 200.
    ///
    /// # Panics
    /// With the console's tail when `bound` (counted from the machine's start) is over or QEMU has ended.
    pub fn wait_for(&self, path: &str, bound: Duration) -> Answer {
        let mut last = "no answer".to_owned();
        loop {
            match self.get(path) {
                Some(answer) if answer.status == 200 => return answer,
                Some(answer) => last = format!("{}: {}", answer.status, answer.body),
                None => {}
            }
            let over = self.age() >= bound;
            // The end of the channel is the end of QEMU: no reason to wait for the bound.
            let gone = self.lines.recv_timeout(ASK) == Err(RecvTimeoutError::Disconnected);
            assert!(!over && !gone, "{}", self.story(path, &last, gone));
        }
    }

    fn story(&self, path: &str, last: &str, gone: bool) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let how = if gone { "QEMU ended" } else { "not answered with 200" };
        format!(
            "GET {path}: {how} after {:?} ({:?}); last: {last}\n--- console\n{tail}",
            self.age(),
            self.accel
        )
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU with everything but network and memory; its serial console is its standard output.
fn qemu(disk: &Path, firmware: Firmware, accel: Accel) -> Command {
    // A machine must not outlive a killed test.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-M", "q35", "-smp", "2"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.args(accel.arguments());
    // EBS volumes are NVMe disks on every current instance type.
    let file = disk.display();
    command.args(["-drive", &format!("file={file},format=raw,if=none,id=root,snapshot=on")]);
    command.args(["-device", "nvme,drive=root,serial=vol0root"]);
    if firmware == Firmware::Uefi {
        let code = "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd";
        let variables = "if=pflash,format=raw,snapshot=on,file=/usr/share/OVMF/OVMF_VARS.fd";
        command.args(["-drive", code, "-drive", variables]);
    }
    command
}

/// A port that nobody listens on at this moment; QEMU wants a number.
fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    socket.local_addr().expect("its number").port()
}
