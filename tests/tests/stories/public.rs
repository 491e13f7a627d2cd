//! Apps that others wrote, as the registries have them: httpbin, under a path of its own, and the React template that Vite's
//! create-vite begins a project with.

use kiln_stage::lifecycle::{Event, State};
use kiln_stage::{Launch, Scene};
use kiln_tests::programs::{repository, run, target};
use kiln_tests::starter::{self, Baked};
use kiln_tests::story::{BOOT, Plan, inside, serving};
use kiln_tests::told::no_request_failed;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Holds the template; the lock file in `tests/apps/public/web` is of this version.
const TEMPLATE: &str = "create-vite@9.3.0";
/// The frontend's package.json pins it: some later ones cannot install what they have locked for other platforms.
const NPM: &str = "npm@10.9.4";

fn public() -> Baked {
    let app = target().join("stories/public");
    std::fs::create_dir_all(&app).expect("make the app's folder");
    run(Command::new("cp").args(["-rT"]).arg(repository().join("tests/apps/public")).arg(&app))
        .expect_code(0);
    template(&app);
    starter::lock(&app);
    starter::bake(&app)
}

fn template(app: &Path) {
    let packed = tempfile::tempdir().expect("a scratch folder");
    run(Command::new("npm").args(["pack", "--silent", TEMPLATE, "--pack-destination"]).arg(packed.path()))
        .expect_code(0);
    let archive = packed.path().join(format!("{}.tgz", TEMPLATE.replace('@', "-")));
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(archive).arg("-C").arg(app.join("web"));
    run(unpack.args(["--strip-components=2", "package/template-react-ts"])).expect_code(0);
    let path = app.join("web/package.json");
    let text = std::fs::read_to_string(&path).expect("the template's package.json");
    let mut package: Value = serde_json::from_str(&text).expect("it is JSON");
    package["packageManager"] = NPM.into();
    std::fs::write(&path, package.to_string()).expect("pin npm");
}

/// What nginx on the instance answers: head and body.
async fn get(scene: &Scene, id: &str, path: &str) -> (String, String) {
    let url = format!("http://127.0.0.1{path}");
    let answer = inside(scene, id, &["curl", "-sSi", "--max-time", "20", &url]).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has head and body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn apps_that_others_wrote_serve_as_they_are_and_leave_without_a_failed_request() {
    let mut plan = Plan { image: public, ..Plan::default() };
    plan.users.paths = ["/", "/bin/get", "/bin/uuid"].map(str::to_owned).to_vec();
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let (head, body) = get(scene, &id, "/bin/anything/a%20b?x=1").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let told: Value = serde_json::from_str(&body).expect("httpbin answers in JSON");
        assert_eq!((&told["args"]["x"], &told["method"]), (&"1".into(), &"GET".into()), "{told:#}");
        let url = told["url"].as_str().unwrap_or_default();
        assert!(
            url.starts_with("http://127.0.0.1/bin/anything/a"),
            "the app knows where it is reached: {url}"
        );
        assert!(get(scene, &id, "/bin/status/418").await.0.starts_with("HTTP/1.1 418"));
        let (head, _) = get(scene, &id, "/bin/redirect/1").await;
        assert!(head.contains("\r\nLocation: /bin/get"), "{head}");
        let (_, page) = get(scene, &id, "/some/route").await;
        assert!(page.contains("<title>Vite + React + TS</title>"), "{page}");
        let script = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let (head, _) = get(scene, &id, script).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("immutable"), "{script}: {head}");
        scene.wish(&id, &Event::ScaledIn);
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        no_request_failed(scene).await;
    });
}
