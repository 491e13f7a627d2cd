//! SIGKILL at several points of a bake and of a rehearsal leaves no mount, loop device, namespace or process.

use kiln_tests::leftovers::kill_at;
use kiln_tests::programs::kiln_command;
use kiln_tests::starter::{baked, fresh};
use std::path::Path;
use std::process::Command;

fn kiln(arguments: &[&str], folder: &Path) -> Command {
    let mut command = kiln_command(["--json", "--verbose"]);
    command.args(arguments).current_dir(folder);
    command
}

#[test]
fn a_killed_bake_leaves_nothing_behind() {
    let folder = fresh();
    let app = folder.path().join("app");
    // A frontend that no cache knows: the second kill comes when the build tool has started.
    let css = app.join("frontend/src/index.css");
    let rules = std::fs::read_to_string(&css).expect("the starter's style sheet");
    std::fs::write(&css, format!("{rules}\n/* {} */\n", std::process::id())).expect("change the style sheet");
    for point in ["frontend", "vite build", "provision", "root.tar", "disk"] {
        kill_at(kiln(&["bake"], &app), &app, point, 1);
    }
    // And the next bake is not hindered by the dead ones: it goes on from every layer that was whole.
    let receipt = kiln_tests::starter::bake(&app).receipt;
    let steps = receipt["steps"].as_array().expect("the receipt lists the steps");
    for layer in ["tools", "base", "frontend", "venv"] {
        let step = steps.iter().find(|step| step["step"] == layer).expect("each layer is a step");
        assert_eq!(step["outcome"], "cached", "{layer}: {receipt:#}");
    }
}

#[test]
fn a_killed_rehearsal_leaves_nothing_behind() {
    let baked = baked();
    let image = baked.image.to_str().expect("a UTF-8 path");
    for point in ["Pending:Wait", "InService", "Terminating"] {
        kill_at(kiln(&["rehearse", image], &baked.app), &baked.app, point, 1);
    }
}
