//! The baked disk boots by BIOS and by UEFI, serves, and its page works in a real browser.

use kiln_tests::browser::Browser;
use kiln_tests::qemu::{Firmware, Guest};
use kiln_tests::starter::{baked, on_debian_13};
use std::time::Duration;

/// From QEMU's start to a ready instance. Software emulation took 28 to 126 s on two shared cores; this only ends a
/// boot that will never serve.
const BOOT: Duration = Duration::from_mins(7);
/// An emulated machine answers the page's own requests in seconds.
const PAGE: Duration = Duration::from_mins(1);

#[test]
fn by_bios_to_a_page_that_shows_data_from_the_api() {
    let guest = Guest::boot(&baked().disk(), Firmware::Bios);
    // Ready by the agent's word: user data was asked for over IMDSv2, nginx and gunicorn answer.
    guest.wait_for("/healthz", BOOT);
    let hello = guest.wait_for("/api/hello", BOOT);

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

#[test]
fn by_uefi_to_a_served_page() {
    let guest = Guest::boot(&baked().disk(), Firmware::Uefi);
    guest.wait_for("/healthz", BOOT);
    let page = guest.wait_for("/", BOOT);
    assert!(page.body.contains("<div id=\"root\">"), "{}", page.body);
    let console = guest.console();
    assert!(!console.contains("Kernel panic") && !console.contains("Failed to start"), "{console}");
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
