//! One image, five services of one repository: each is reached under its own path, by its own user, and counts for health.
//! On Debian 13, where the other stories are on Debian 12.

use kiln_stage::lifecycle::{Event, State};
use kiln_stage::{Launch, Scene, StreamRoute};
use kiln_tests::programs::{repository, run, target};
use kiln_tests::starter::{self, Baked};
use kiln_tests::story::{BOOT, Plan, inside, serving};
use kiln_tests::told::no_request_failed;
use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;

/// Bakes `tests/apps/cinema`: four frontends by npm workspaces, pnpm and Yarn, four backends, native wheels. The stories share its folder:
/// the first writes it, the others wait.
pub(crate) fn cinema() -> Baked {
    static WRITTEN: Mutex<()> = Mutex::new(());
    let _alone = WRITTEN.lock().expect("no story panics here");
    let app = target().join("stories/cinema");
    std::fs::create_dir_all(&app).expect("make the app's folder");
    let mut copy = Command::new("cp");
    run(copy.args(["-rT"]).arg(repository().join("tests/apps/cinema")).arg(&app)).expect_code(0);
    // The same page and the same build, by each of the package managers.
    for manager in ["pnpm", "yarn"] {
        for file in ["build.mjs", "page.jsx"] {
            std::fs::copy(app.join("web").join(file), app.join(manager).join(file)).expect("copy the page");
        }
    }
    starter::lock_own(&app);
    starter::bake(&app)
}

/// What nginx on the instance answers: head and body.
async fn get(scene: &Scene, id: &str, path: &str) -> String {
    let url = format!("http://127.0.0.1{path}");
    inside(scene, id, &["curl", "-sSi", "--max-time", "20", &url]).await
}

async fn json(scene: &Scene, id: &str, path: &str) -> Value {
    let answer = get(scene, id, path).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has head and body");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

#[test]
fn five_services_of_one_repository_answer_each_under_its_path() {
    let mut plan = Plan { image: cinema, ..Plan::default() };
    let routes = [
        "/",
        "/api/whoami",
        "/movies/",
        "/movies/api/poster",
        "/shows/api/whoami",
        "/partners/whoami",
        "/help/",
    ];
    plan.users.paths = routes.map(str::to_owned).to_vec();
    let stream = "/partners/stream?seconds=4".to_owned();
    plan.users.stream = Some(StreamRoute { path: stream, ends_with: Some("done".to_owned()) });
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        backends(scene, &id).await;
        frontends(scene, &id).await;
        statics(scene, &id).await;
        health(scene, &id).await;
        let held = scene.hold_stream().await.expect("a stream of gevent's");
        scene.wish(&id, &Event::ScaledIn);
        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        no_request_failed(scene).await;
    });
}

async fn backends(scene: &Scene, id: &str) {
    for (service, prefix, route) in [
        ("home", "", "/api"),
        ("movies", "/movies", "/api"),
        ("shows", "/shows", "/api"),
        ("partners", "/partners", ""),
    ] {
        let told = json(scene, id, &format!("{prefix}{route}/whoami")).await;
        assert_eq!(told["service"], service);
        assert_eq!(told["user"], format!("app-{service}"), "a user of its own");
        assert_eq!(told["prefix"], prefix, "the app knows where it is reached");
        let unit = [
            "systemctl",
            "is-active",
            &format!("gunicorn@{service}.service"),
            &format!("gunicorn@{service}.socket"),
        ];
        assert_eq!(
            inside(scene, id, &unit).await.split_whitespace().collect::<Vec<_>>(),
            ["active", "active"]
        );
        let socket =
            inside(scene, id, &["stat", "-c", "%U:%G %a", &format!("/run/gunicorn/{service}.sock")]).await;
        assert_eq!(socket.trim(), "root:www-data 660", "nginx alone reaches {service}");
    }
    let workers = json(scene, id, "/partners/workers").await;
    assert_eq!(workers["gevent"], true, "what would block gives way to other greenlets");
    let limit = ["systemctl", "show", "-P", "LimitNOFILE", "gunicorn@partners.service"];
    assert_eq!(inside(scene, id, &limit).await.trim(), "65536", "a file for each connection");
    // Pillow's own libraries are beside it in the venv, none of them is Debian's.
    let poster = get(scene, id, "/movies/api/poster").await;
    assert!(poster.contains("Content-Type: image/png") && poster.contains("PNG"), "{poster}");
}

async fn frontends(scene: &Scene, id: &str) {
    for (service, path) in [("home", "/"), ("movies", "/movies/"), ("shows", "/shows/"), ("help", "/help/")] {
        let page = get(scene, id, path).await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains(&format!("<title>{service}</title>")),
            "{page}"
        );
        let start = format!("src=\"{path}assets/{service}-");
        let script = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        assert!(page.contains(&start), "{page}");
        let script = get(scene, id, script).await;
        assert!(
            script.starts_with("HTTP/1.1 200") && script.contains("immutable"),
            "{}",
            &script[..400.min(script.len())]
        );
        let deep = get(scene, id, &format!("{path}some/route")).await;
        assert!(deep.contains(&format!("<title>{service}</title>")), "a deep link is the page: {deep}");
        let missing = get(scene, id, &format!("{path}assets/gone-0.js")).await;
        assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
        if path != "/" {
            let bare = get(scene, id, path.trim_end_matches('/')).await;
            assert!(
                bare.starts_with("HTTP/1.1 308") && bare.contains(&format!("Location: {path}")),
                "{bare}"
            );
        }
    }
}

/// nginx has the files of a backend, compressed and by the release; gunicorn is not asked.
async fn statics(scene: &Scene, id: &str) {
    let whoami = get(scene, id, "/partners/whoami").await;
    assert!(whoami.contains("X-Answered-By: gunicorn"), "{whoami}");
    let link = inside(scene, id, &["readlink", "/srv/partners/current"]).await;
    let tag = format!("W/\"{}\"", link.trim().strip_prefix("releases/").expect("current is a release"));
    for (path, kind, content) in [
        ("/partners/static/partners.css", "text/css", ".row-24 {"),
        ("/partners/static/logo/reel.svg", "image/svg+xml", "<circle"),
        ("/brand/colours.css", "text/css", "--seat: #a00"),
    ] {
        let file = get(scene, id, path).await;
        let told = |line: String| file.contains(&format!("\r\n{line}\r\n"));
        assert!(file.starts_with("HTTP/1.1 200") && file.contains(content), "{path}: {file}");
        assert!(
            told(format!("Content-Type: {kind}")) && told("Cache-Control: no-cache".to_owned()),
            "{file}"
        );
        assert!(told("X-Content-Type-Options: nosniff".to_owned()), "{file}");
        assert!(!file.contains("X-Answered-By") && !file.contains("Last-Modified"), "{file}");
        assert!(path.starts_with("/brand/") || told(format!("ETag: {tag}")), "{tag}: {file}");
    }
    let asked = async |header: &str| {
        let url = "http://127.0.0.1/partners/static/partners.css";
        let command = ["curl", "-sSi", "-o", "/dev/null", "-D", "-", "-H", header, url];
        inside(scene, id, &command).await
    };
    for (header, status, line) in [
        (format!("If-None-Match: {tag}"), "304", format!("ETag: {tag}")),
        ("If-None-Match: W/\"ba9876543210\"".to_owned(), "200", format!("ETag: {tag}")),
        ("Accept-Encoding: br".to_owned(), "200", "Content-Encoding: br".to_owned()),
        ("Accept-Encoding: gzip".to_owned(), "200", "Content-Encoding: gzip".to_owned()),
    ] {
        let head = asked(&header).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains(&line), "{header}: {head}");
    }
    for missing in ["/partners/static/gone.css", "/partners/static/", "/partners/static/logo"] {
        let answer = get(scene, id, missing).await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && !answer.contains("X-Answered-By"),
            "{missing}: {answer}"
        );
    }
}

/// The instance is as ready as the least of its services.
async fn health(scene: &Scene, id: &str) {
    let status = scene.status(id).await.expect("the agent tells its status");
    let told = status.to_string();
    for service in ["home", "movies", "shows", "partners", "help"] {
        assert!(told.contains(&format!("\"{service}\"")), "no check of {service}: {told}");
    }
}

#[test]
fn the_image_says_what_it_is_made_of() {
    let baked = cinema();
    let list = std::fs::read_to_string(baked.image.join("packages.spdx.json")).expect("the list of packages");
    let list: Value = serde_json::from_str(&list).expect("the list is JSON");
    let packages = list["packages"].as_array().expect("the list has packages");
    let find = |start: &str| {
        let of = |package: &&Value| {
            package["externalRefs"][0]["referenceLocator"]
                .as_str()
                .is_some_and(|purl| purl.starts_with(start))
        };
        packages.iter().find(of)
    };
    for (purl, license) in [
        ("pkg:npm/react@", "MIT"),
        ("pkg:pypi/pillow@", "MIT-CMU"),
        (
            "pkg:deb/debian/nginx-light@",
            "BSD-2-Clause AND GPL-2.0-or-later AND LicenseRef-nginx-light-public-domain AND MIT",
        ),
    ] {
        let found = find(purl).unwrap_or_else(|| panic!("{purl} is not listed"));
        assert_eq!(found["licenseDeclared"], license, "{found:#}");
    }
    assert!(find("pkg:npm/esbuild@").is_none(), "what only builds is not in the image");

    let mut tar = Command::new("tar");
    tar.arg("-xOf").arg(baked.image.join("root.tar")).arg("etc/kiln/image.json");
    let image: Value =
        serde_json::from_str(&run(&mut tar).expect_code(0).stdout).expect("image.json is JSON");
    assert_eq!(image["digest"], baked.receipt["digest"]);
    assert_eq!(image["base"]["sha256"], baked.receipt["base"]["sha256"]);
    assert_eq!(image["tools"]["uv"], baked.receipt["tools"]["uv"]);
    let inputs = baked.receipt["inputs"].as_array().expect("the receipt names the inputs");
    assert!(inputs.iter().any(|part| part["part"] == "lock"), "{inputs:?}");
    for part in inputs {
        assert_eq!(image["inputs"][part["part"].as_str().expect("a name")], part["sha256"]);
    }
}
