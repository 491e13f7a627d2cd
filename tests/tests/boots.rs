//! The baked disk boots by BIOS and by UEFI, serves, and its page works in a real browser.

use kiln_tests::browser::Browser;
use kiln_tests::programs::run;
use kiln_tests::qemu::{Firmware, Guest, Machine};
use kiln_tests::starter::{baked, on_debian_13};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// From QEMU's start to a ready instance. Software emulation took 28 to 126 s on two shared cores; this only ends a
/// boot that will never serve.
const BOOT: Duration = Duration::from_mins(7);
/// An emulated machine answers the page's own requests in seconds.
const PAGE: Duration = Duration::from_mins(1);

/// Where an instance serves what it has told: a getty that starts on the serial console discards what is on its way there.
const TOLD: &str = "/told.txt";

/// Tells who the instance is, and what comes after it.
const WHO: &str = r#"#!/bin/sh
exec >/srv/starter/current/web/told.txt 2>&1
systemctl start kiln-hostkeys.service
echo "machine $(cat /etc/machine-id)"
for key in /etc/ssh/ssh_host_*_key.pub; do echo "key $(ssh-keygen -lf "$key" | cut -d' ' -f2)"; done
"#;

/// What the instances of this program that were booted from one image have told of themselves.
static BOOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Fails for an identity that another instance has, too.
fn is_somebody_else(told: &str) {
    let keys: Vec<_> = told.lines().filter(|line| line.starts_with("key SHA256:")).collect();
    let machine =
        told.lines().find(|line| line.starts_with("machine ") && line.len() == "machine ".len() + 32);
    assert!(!keys.is_empty() && machine.is_some(), "{told}");
    let mut booted = BOOTED.lock().expect("no test panics with it");
    for line in keys.into_iter().chain(machine) {
        assert!(!booted.iter().any(|other| other == line), "two instances of one image have {line}");
        booted.push(line.to_owned());
    }
}

#[test]
fn every_instance_type_finds_its_disk_and_its_network() {
    let root = baked().root();
    let mut list = Command::new("bwrap");
    list.arg("--ro-bind").arg(&root).args(["/", "--tmpfs", "/tmp", "--"]);
    list.args(["sh", "-c", "cat /boot/config-*; zstd -dc </initrd.img | cpio --quiet --list"]);
    let listed = run(&mut list).expect_code(0).stdout;
    // Nitro's disks without an initrd; its network, and the disks and networks of Xen's, with it.
    for driver in ["CONFIG_BLK_DEV_NVME=y", "CONFIG_EXT4_FS=y", "/ena.ko", "/xen-blkfront.ko", "/ixgbevf.ko"]
    {
        assert!(listed.lines().any(|line| line.ends_with(driver)), "there is no {driver}");
    }
}

#[test]
fn by_bios_to_a_page_that_shows_data_from_the_api() {
    let mut machine = Machine::new(Firmware::Bios);
    machine.metadata = machine.metadata.with("user-data", WHO);
    let guest = machine.boot(&baked().disk());
    // Ready by the agent's word: user data was asked for over IMDSv2, nginx and gunicorn answer.
    guest.wait_for("/healthz", BOOT);
    let hello = guest.wait_for("/api/hello", BOOT);
    is_somebody_else(&guest.wait_for(TOLD, BOOT).body);

    let browser = Browser::start(&guest.url()).expect("the browser starts");
    browser.open("/").expect("the page loads");
    let hello: serde_json::Value = serde_json::from_str(&hello.body).expect("the API speaks JSON");
    let greeting = hello["greeting"].as_str().expect("the API greets");
    let text = browser.text_with(greeting, PAGE).expect("the page shows what the API said");
    assert!(text.contains("Stoneware mug"), "{text}");
    // A deep link is the same page, not a 404.
    browser.open("/some/route").expect("the page loads");
    browser.text_with(greeting, PAGE).expect("the page shows what the API said");
}

/// Tells what is in effect of every item of hardening, and how large the root is.
const ASKED: &str = r#"
mkdir -p /run/sshd
sshd -T | sed 's/^/ssh /'
sysctl kernel.kptr_restrict kernel.dmesg_restrict kernel.yama.ptrace_scope kernel.unprivileged_bpf_disabled \
    kernel.unprivileged_userns_clone kernel.kexec_load_disabled | sed 's/^/kernel /'
sysctl net.ipv4.conf.all.accept_redirects net.ipv4.conf.default.accept_source_route \
    net.ipv6.conf.all.accept_redirects net.ipv4.conf.all.rp_filter | sed 's/^/network /'
modprobe --show-depends sctp | sed 's/^/modules /'
findmnt -rno TARGET,FSTYPE,VFS-OPTIONS /tmp | sed 's/^/mounts /'
findmnt -rno TARGET,FSTYPE,VFS-OPTIONS /dev/shm | sed 's/^/mounts /'
echo "coredumps $(cat /proc/sys/kernel/core_pattern) $(sed -n 's/^Max core file size *//p' /proc/self/limits)"
echo "upgrades $(systemctl is-enabled apt-daily.timer) $(systemctl is-enabled apt-daily-upgrade.timer)"
echo "time $(chronyc -n sources | tail -n 1)"
echo "audit $(journalctl --quiet --boot _TRANSPORT=audit | wc -l)"
echo "root $(df --output=size --block-size=1M / | tail -n 1)"
"#;

/// What the items of hardening have to answer; of `audit`, any number of records but none.
const FACTS: [(&str, &[&str]); 9] = [
    (
        "ssh",
        &["passwordauthentication no", "permitrootlogin no", "disableforwarding yes", "x11forwarding no"],
    ),
    (
        "kernel",
        &[
            "kernel.kptr_restrict = 2",
            "kernel.dmesg_restrict = 1",
            "kernel.yama.ptrace_scope = 2",
            "kernel.unprivileged_bpf_disabled = 1",
            "kernel.unprivileged_userns_clone = 0",
            "kernel.kexec_load_disabled = 1",
        ],
    ),
    (
        "network",
        &[
            "net.ipv4.conf.all.accept_redirects = 0",
            "net.ipv4.conf.default.accept_source_route = 0",
            "net.ipv6.conf.all.accept_redirects = 0",
            "net.ipv4.conf.all.rp_filter = 2",
        ],
    ),
    ("modules", &["install /bin/false"]),
    ("mounts", &["/tmp tmpfs rw,nosuid,nodev,noexec", "/dev/shm tmpfs rw,nosuid,nodev,noexec"]),
    ("coredumps", &["|/bin/false 0                    0"]),
    ("upgrades", &["masked masked"]),
    ("time", &["169.254.169.123"]),
    ("audit", &[""]),
];

#[test]
fn by_uefi_to_a_served_page_with_all_of_the_hardening_in_effect() {
    let baked = baked();
    let mut machine = Machine::new(Firmware::Uefi);
    machine.metadata = machine.metadata.with("user-data", &format!("{WHO}{ASKED}"));
    // A volume twice as large as the image, as a launch template may ask for.
    let volume = tempfile::NamedTempFile::new().expect("a file for the volume");
    let mut copy = Command::new("cp");
    run(copy.args(["--sparse=always"]).arg(baked.disk()).arg(volume.path())).expect_code(0);
    volume.as_file().set_len(4 << 30).expect("the volume is larger");
    let guest = machine.boot(volume.path());
    guest.wait_for("/healthz", BOOT);
    let page = guest.wait_for("/", BOOT);
    assert!(page.body.contains("<div id=\"root\">"), "{}", page.body);
    let console = guest.console();
    assert!(!console.contains("Kernel panic") && !console.contains("Failed to start"), "{console}");
    let told = guest.wait_for(TOLD, BOOT).body;
    is_somebody_else(&told);
    let items = baked.receipt["hardening"].as_array().expect("the receipt lists what is on");
    assert_eq!(items.len(), FACTS.len(), "{items:?}");
    for (item, facts) in FACTS {
        let said: Vec<_> =
            told.lines().filter_map(|line| line.strip_prefix(item)?.strip_prefix(' ')).collect();
        for fact in facts {
            assert!(said.iter().any(|line| line.contains(fact)), "{item}: {fact} is not in {said:#?}");
        }
    }
    let root = told.lines().find_map(|line| line.strip_prefix("root ")?.trim().parse::<u32>().ok());
    assert!(root.is_some_and(|mib| mib > 3500), "the root has not grown to its volume: {root:?} MiB");
    let records = told.lines().find_map(|line| line.strip_prefix("audit ")?.trim().parse::<u32>().ok());
    assert!(records.is_some_and(|records| records > 0), "{records:?} audit records");
}

#[test]
fn debian_13_by_uefi_to_a_served_page() {
    let guest = Guest::boot(&on_debian_13().disk(), Firmware::Uefi);
    guest.wait_for("/healthz", BOOT);
    let hello = guest.wait_for("/api/hello", BOOT);
    assert!(hello.body.contains("greeting"), "{}", hello.body);
    let console = guest.console();
    assert!(!console.contains("Kernel panic") && !console.contains("Failed to start"), "{console}");
}
