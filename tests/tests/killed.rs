//! SIGKILL and SIGINT at each step of a bake, and at several points of a rehearsal, leave no mount, loop device, namespace or
//! process.

use kiln_tests::leftovers::{MARK, interrupt_at, kill_at, mark};
use kiln_tests::programs::{self, kiln_command, run};
use kiln_tests::starter::{baked, cache_of, fresh};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

fn kiln(arguments: &[&str], folder: &Path) -> Command {
    let mut command = kiln_command(["--json", "--verbose"]);
    command.args(arguments).current_dir(folder);
    command
}

/// What nothing builds of: downloads.
const DOWNLOADS: [&str; 4] = ["debs", "npm", "uv", "uv-cache"];
/// What earlier bakes have built and this one need not.
const GROUND: [&str; 2] = ["tools", "base"];

#[test]
fn a_bake_that_is_killed_or_interrupted_at_any_step_leaves_nothing_behind_and_the_next_goes_on() {
    // Whose downloads and base it takes.
    baked();
    let folder = fresh();
    let (app, own) = (folder.path().join("app"), folder.path().join("cache"));
    let bake = |cache: &Path| {
        let mut bake = kiln(&["bake"], &app);
        bake.env("KILN_CACHE", cache);
        bake
    };
    // While the ground is laid: unpacking the disk tools, and in mmdebstrap.
    let empty = folder.path().join("empty");
    cache_of(&empty, &DOWNLOADS);
    interrupt_at(bake(&empty), &app, "fetching the disk tools", 1);
    interrupt_at(bake(&empty), &app, "running apt-get update", 1);
    kill_at(bake(&empty), &app, "running apt-get update", 1);

    // While layers are built that no cache has, and in each step after them.
    cache_of(&own, &[&DOWNLOADS[..], &GROUND[..]].concat());
    interrupt_at(bake(&own), &app, "installing backend/requirements.txt", 1);
    let points = ["frontend", "installing backend/requirements.txt", "vite build", "overlay", "provision"];
    for point in points.into_iter().chain(["assert", "disk.raw"]) {
        kill_at(bake(&own), &app, point, 1);
    }
    for point in ["verifying from inside", "clean", "root.tar", "hashing the disk"] {
        interrupt_at(bake(&own), &app, point, 1);
    }
    // root.tar is whole, and the disk is being hashed.
    kill_at(bake(&own), &app, r#""state":"done","step":"assert""#, 1);
    let log = fs::read_to_string(app.join(".kiln/failed.log"));
    assert!(log.is_ok_and(|log| log.contains("files and users")), "what a killed bake had logged is kept");
    let images: Vec<_> = fs::read_dir(app.join(".kiln/images")).expect("the images").flatten().collect();
    let whole = |image: &fs::DirEntry| image.path().join("receipt.json").is_file();
    assert!(!images.iter().any(whole), "an image without a bake that ended: {images:?}");
    // And the next bake is not hindered by the dead ones: it goes on from every layer that was whole, without a network.
    let mut bake = Command::new("unshare");
    bake.arg("--net").arg(programs::kiln()).args(["--json", "bake"]).current_dir(&app);
    bake.env("KILN_AGENT", programs::agent()).env("KILN_CACHE", &own);
    let ended = run(&mut bake).expect_code(0);
    let receipt: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the receipt alone");
    let steps = receipt["steps"].as_array().expect("the receipt lists the steps");
    for layer in ["tools", "base", "frontend", "venv", "root.tar", "assert"] {
        let step = steps.iter().find(|step| step["step"] == layer).expect("each layer is a step");
        assert_eq!(step["outcome"], "cached", "{layer}: {receipt:#}");
    }
    // Beside the image, everything that each step said.
    let image = Path::new(receipt["dir"].as_str().expect("the image's folder"));
    let log = fs::read_to_string(image.join("log")).expect("the log");
    for step in steps {
        let name = step["step"].as_str().expect("its name");
        assert!(log.contains(&format!("] {name} …")), "nothing of {name} in the log:\n{log}");
    }
    for output in ["$ systemd-sysusers", "→ Overall exposure level for nginx.service", "$ nginx -t"] {
        assert!(log.contains(output), "no `{output}` in the log:\n{log}");
    }
}

#[test]
fn a_sandbox_that_has_only_begun_goes_too() {
    baked();
    let folder = fresh();
    let (app, bin, cache) =
        (folder.path().join("app"), folder.path().join("bin"), folder.path().join("cache"));
    cache_of(&cache, &[&DOWNLOADS[..], &GROUND[..]].concat());
    // bubblewrap as it is while its first process has not asked yet to die with it.
    let point = "half begun";
    let first = format!("{MARK}={} sh -c 'echo {point}; sleep 600'", mark(point));
    let bubblewrap = format!("#!/bin/sh\n{first} &\nwait\n");
    fs::create_dir(&bin).expect("make the folder of programs");
    fs::write(bin.join("bwrap"), bubblewrap).expect("write the program");
    fs::set_permissions(bin.join("bwrap"), fs::Permissions::from_mode(0o755)).expect("let it run");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let bake = || {
        let mut bake = kiln(&["bake"], &app);
        bake.env("KILN_CACHE", &cache).env("PATH", &path);
        bake
    };
    // Kiln, and that first process.
    kill_at(bake(), &app, point, 2);
    interrupt_at(bake(), &app, point, 2);
}

#[test]
fn a_killed_rehearsal_leaves_nothing_behind() {
    let baked = baked();
    let image = baked.image.to_str().expect("a UTF-8 path");
    for point in ["Pending:Wait", "InService", "Terminating"] {
        kill_at(kiln(&["rehearse", image], &baked.app), &baked.app, point, 1);
    }
}
