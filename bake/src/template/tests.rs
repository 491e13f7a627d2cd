//! Templates as they are rendered.

use kiln_image::os::KNOWN;

use super::*;

const TWO: &str = r#"
[image]
name = "cinema"
[[service]]
name = "shop"
path = "/"
backend = "backend"
wsgi = "shop:create_app()"
frontend = "frontend"
health = "/api/health"
[[service]]
name = "movies"
path = "/movies/"
frontend = "movies"
"#;

fn view(text: &str) -> View {
    let (manifest, _) = Manifest::parse(text, Path::new("/app")).expect("the manifest is valid");
    let releases: Vec<String> = manifest.services.iter().map(|_| "0123456789ab".to_owned()).collect();
    View::new(&manifest, &releases, &KNOWN[0])
}

#[test]
fn every_template_renders_for_one_and_for_two_services() {
    let one = TWO.split("[[service]]\nname = \"movies\"").next().expect("a first part");
    for text in [one, TWO] {
        let files = image(&view(text)).expect("every template renders");
        assert!(files.iter().all(|file| !file.path.to_string_lossy().ends_with(".j2")));
        assert!(files.iter().all(|file| !file.path.to_string_lossy().contains(PER_SERVICE)));
        let mut paths: Vec<_> = files.iter().map(|file| &file.path).collect();
        paths.dedup();
        assert_eq!(paths.len(), files.len(), "no two templates write one file");
    }
}

#[test]
fn nginx_is_configured_as_the_operating_system_has_it() {
    let (manifest, _) = Manifest::parse(TWO, Path::new("/app")).expect("the manifest is valid");
    let releases = ["0123456789ab".to_owned(), "ba9876543210".to_owned()];
    for os in &KNOWN {
        let files = image(&View::new(&manifest, &releases, os)).expect("every template renders");
        let text = |path: &str| {
            let file = files.iter().find(|file| file.path == Path::new(path));
            file.map(|file| String::from_utf8_lossy(&file.content).into_owned())
        };
        let nginx = text("etc/nginx/nginx.conf").expect("nginx has a configuration");
        assert!(nginx.contains(&format!("\nuser {};\n", os.web_user)), "{nginx}");
        assert!(nginx.contains(&format!("\ninclude {};\n", os.nginx_modules)), "{nginx}");
        let socket = text("usr/lib/systemd/system/gunicorn@.socket").expect("gunicorn has a socket");
        assert!(socket.contains(&format!("\nSocketGroup={}\n", os.web_user)), "{socket}");
        assert!(socket.ends_with("WantedBy=sockets.target\n"), "{socket}");
        assert_eq!(text("etc/nginx/conf.d/brotli.conf").is_some(), os.brotli, "{}", os.name);
    }
}

#[test]
fn what_cloud_init_is_told_goes_by_the_manifest() {
    let told = |choice: &str| -> Vec<(String, String)> {
        let text = TWO.replace("\"cinema\"", &format!("\"cinema\"\ncloud_init = \"{choice}\""));
        let files = image(&view(&text)).expect("every template renders").into_iter();
        let named = files.map(|file| {
            (file.path.display().to_string(), String::from_utf8_lossy(&file.content).into_owned())
        });
        named.filter(|(path, _)| path.contains("cloud") || path.ends_with("agent.toml")).collect()
    };
    let [(drop_in, text), (_, agent)] = &told("take-over")[..] else { panic!("one file for it") };
    assert_eq!(drop_in, "etc/cloud/cloud.cfg.d/99-kiln.cfg");
    assert!(text.ends_with("\nallow_userdata: false\n"), "{text}");
    assert!(agent.contains("\ncloud_init = \"take-over\"\n"), "{agent}");
    let [(_, agent), units @ ..] = &told("wait")[..] else { panic!("there is an agent") };
    assert!(agent.contains("\ncloud_init = \"wait\"\n"), "{agent}");
    let names = ["gunicorn@.service.d", "kiln-bootstrap.service.d"]
        .map(|unit| format!("usr/lib/systemd/system/{unit}/cloud-init.conf"));
    assert_eq!(units.iter().map(|(path, _)| path).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert!(units.iter().all(|(_, text)| text.contains("[Unit]\nDefaultDependencies=no\n")), "{units:?}");
}

#[test]
fn the_starter_takes_another_name_in_its_manifest_alone() {
    assert_eq!(named("name = \"shop\"   # user app-shop", "till"), "name = \"till\"   # user app-shop");
    assert_eq!(named("wsgi = \"shop:app\"", "till"), "wsgi = \"shop:app\"");
}

fn rendered(text: &str, path: &str) -> Option<String> {
    let files = image(&view(text)).expect("every template renders");
    let file = files.iter().find(|file| file.path == Path::new(path));
    file.map(|file| String::from_utf8_lossy(&file.content).into_owned())
}

#[test]
fn static_folders_are_nginx_s_before_they_are_gunicorn_s() {
    let text = TWO.replace(
        "frontend = \"movies\"",
        "backend = \"m\"\nwsgi = \"m:app\"\nstatic = { \"/static/\" = \"m/static\" }",
    );
    let config = rendered(&text, "etc/nginx/kiln.d/movies.conf").expect("nginx has its locations");
    for line in [
        "location /movies/static/ {\n    alias /srv/movies/current/src/m/static/;\n",
        "    if ($http_if_none_match ~ \"0123456789ab\") {\n        return 304;\n",
        "    add_header ETag 'W/\"0123456789ab\"';\n",
    ] {
        assert!(config.contains(line), "{line} is not in {config}");
    }
    let without = rendered(TWO, "etc/nginx/kiln.d/shop.conf").expect("nginx has its locations");
    assert!(!without.contains("current/src") && !without.contains("ETag"), "{without}");
}

#[test]
fn gunicorn_is_configured_as_the_manifest_has_it() {
    let of = |keys: &str| {
        let text = TWO.replace("frontend = \"frontend\"\n", &format!("frontend = \"frontend\"\n{keys}\n"));
        let config = rendered(&text, "etc/gunicorn/shop.conf.py").expect("gunicorn has a configuration");
        let limits = rendered(&text, "usr/lib/systemd/system/gunicorn@shop.service.d/connections.conf");
        let settings = ["workers = ", "worker_class = ", "threads = ", "worker_connections = "];
        let lines = config.lines().filter(|line| settings.iter().any(|start| line.starts_with(start)));
        (lines.map(str::to_owned).collect::<Vec<_>>(), limits.is_some())
    };
    let counted =
        r#"workers = int(os.environ.get("WEB_CONCURRENCY") or max(2, len(os.sched_getaffinity(0))))"#;
    let threads = |count| format!(r#"threads = int(os.environ.get("GUNICORN_THREADS") or {count})"#);
    let table: [(&str, Vec<String>, bool); 4] = [
        ("", vec![counted.into(), r#"worker_class = "gthread""#.into(), threads(16)], false),
        (
            "workers = 3\nthreads = 4\nworker_connections = 9",
            vec![
                r#"workers = int(os.environ.get("WEB_CONCURRENCY") or 3)"#.into(),
                r#"worker_class = "gthread""#.into(),
                threads(4),
                "worker_connections = 9".into(),
            ],
            false,
        ),
        ("worker_class = \"sync\"", vec![counted.into(), r#"worker_class = "sync""#.into()], false),
        (
            "worker_class = \"gevent\"\nworker_connections = 500",
            vec![counted.into(), r#"worker_class = "gevent""#.into(), "worker_connections = 500".into()],
            true,
        ),
    ];
    for (keys, lines, limits) in table {
        assert_eq!(of(keys), (lines, limits), "{keys}");
    }
}

#[test]
fn certificates_bring_their_files_and_nothing_else_does() {
    let text = TWO.replacen(
        "\"cinema\"\n",
        "\"cinema\"\n[image.tls]\ndomains = [\"a.org\", \"b.org\"]\nserver = \"https://acme.test/dir\"\n",
        1,
    );
    let paths = |text: &str| -> Vec<PathBuf> {
        let files = image(&view(text)).expect("every template renders");
        files.into_iter().map(|file| file.path).collect()
    };
    let (with, without) = (paths(&text), paths(TWO));
    let more: Vec<_> = with.iter().filter(|path| !without.contains(path)).collect();
    assert_eq!(
        more,
        [
            "usr/lib/kiln/fetch-certificate",
            "usr/lib/kiln/placeholder-certificate",
            "usr/lib/kiln/use-certificate",
            "usr/lib/systemd/system/certbot.service.d/kiln.conf",
            "usr/lib/systemd/system/kiln-certificate.timer",
            "usr/lib/systemd/system/kiln-placeholder.service",
            "usr/lib/tmpfiles.d/kiln-tls.conf",
        ]
        .map(Path::new)
    );
    for (path, on, off) in [
        ("etc/nginx/nginx.conf", "listen 443 ssl default_server", "443"),
        ("etc/kiln/agent.toml", "\nports = [80, 443]\n", "\nports = [80"),
    ] {
        let (with, without) = (rendered(&text, path), rendered(TWO, path));
        assert!(with.expect("it is there").contains(on), "{path}");
        assert!(!without.expect("it is there").contains(off), "{path}");
    }
    let fetch = rendered(&text, "usr/lib/kiln/fetch-certificate").expect("a script");
    assert!(
        fetch.starts_with("#!/bin/sh\n") && fetch.contains(" --register-unsafely-without-email "),
        "{fetch}"
    );
    let asked = " --server 'https://acme.test/dir' --cert-name kiln --domains 'a.org,b.org' ";
    assert!(fetch.contains(asked), "{fetch}");
}
