//! Broken manifests: each complaint stands at its place, with a caret, and says the way out.

use std::path::Path;

use kiln::manifest::Manifest;

const IMAGE: &str = "[image]\nname = \"shop\"\n";
const SERVICE: &str = "[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"web\"\n";

fn complaint(text: &str) -> String {
    let parsed = Manifest::parse(text, Path::new("/app"));
    parsed.map_or_else(|error| error.to_string(), |_| "it is valid".to_owned())
}

#[test]
fn a_complaint_shows_the_line_and_a_caret_under_the_value() {
    let text = format!("{IMAGE}size = \"1.5GiB\"\n{SERVICE}");
    let expected = "\
kiln.toml:3:8: size '1.5GiB' is not a whole number of GiB from 1 to 64: write it as \"2GiB\"
  |
3 | size = \"1.5GiB\"
  |        ^^^^^^^^";
    assert_eq!(complaint(&text), expected);
}

#[test]
fn every_rule_names_the_place_the_value_and_the_way_out() {
    let service = |lines: &str| format!("{IMAGE}[[service]]\nname = \"shop\"\npath = \"/\"\n{lines}\n");
    let table: [(String, &str); 24] = [
        ("[image]\nname = \"shop\n".into(), "kiln.toml:2:"),
        ("[image]\nnam = \"shop\"\n".into(), "kiln.toml:2:1: unknown field `nam`, expected one of `name`"),
        (
            format!("{IMAGE}size = 2\n{SERVICE}"),
            "kiln.toml:3:8: invalid type: integer `2`, expected a string",
        ),
        (IMAGE.into(), "kiln.toml:2:8: image has no [[service]]: add one"),
        (format!("[image]\nname = \"Shop\"\n{SERVICE}"), "kiln.toml:2:8: image name 'Shop' is not a name"),
        (
            format!("{IMAGE}base = \"arch\"\n{SERVICE}"),
            "kiln.toml:3:8: base 'arch' is not known: use 'debian-12'",
        ),
        (
            format!("{IMAGE}packages = [\"jq\", \"A b\"]\n{SERVICE}"),
            "kiln.toml:3:19: package 'A b' is not the name",
        ),
        (format!("{IMAGE}size = \"0GiB\"\n{SERVICE}"), "kiln.toml:3:8: size '0GiB'"),
        (format!("{IMAGE}{SERVICE}{SERVICE}"), "kiln.toml:8:8: service name 'shop' is used twice"),
        (
            service("").replace("\"shop\"\npath", "\"a-name-of-more-than-28-letters\"\npath"),
            "kiln.toml:4:8: service name",
        ),
        (
            service("frontend = \"web\"").replace("\"/\"", "\"/movies\""),
            "kiln.toml:5:8: service path '/movies' must begin and end in '/': write '/movies/'",
        ),
        (
            service("frontend = \"web\"").replace("\"/\"", "\"/a b/\""),
            "kiln.toml:5:8: service path '/a b/' is neither",
        ),
        (
            service("frontend = \"web\"").replace("\"/\"", "\"/api/\""),
            "kiln.toml:5:8: service path '/api/' uses 'api'",
        ),
        (service(""), "kiln.toml:4:8: service 'shop' has neither 'backend' nor 'frontend'"),
        (
            service("backend = \"api\""),
            "kiln.toml:6:11: 'backend' is given without 'wsgi': add wsgi = \"module:app\"",
        ),
        (service("wsgi = \"shop:app\""), "kiln.toml:6:8: 'wsgi' is given without 'backend'"),
        (
            service("backend = \"api\"\nwsgi = \"shop.app\""),
            "kiln.toml:7:8: wsgi 'shop.app' is not 'module:callable'",
        ),
        (service("backend = \"api\"\nwsgi = \"shop:app(1)\""), "kiln.toml:7:8: wsgi 'shop:app(1)'"),
        (
            service("backend = \"../api\"\nwsgi = \"shop:app\""),
            "kiln.toml:6:11: backend '../api' must be a folder under",
        ),
        (
            service("backend = \"/api\"\nwsgi = \"shop:app\""),
            "kiln.toml:6:11: backend '/api' must be a folder under",
        ),
        (
            service("backend = \"api\"\nwsgi = \"shop:app\"\nbuild = \"make\""),
            "kiln.toml:8:9: 'build' is given without 'frontend'",
        ),
        (
            service("backend = \"api\"\nwsgi = \"shop:app\"\ndist = \"out\""),
            "kiln.toml:8:8: 'dist' is given without 'frontend'",
        ),
        (
            service("frontend = \"web\"\nhealth = \"health\""),
            "kiln.toml:7:10: health 'health' is not a URL path",
        ),
        (
            format!("{IMAGE}{SERVICE}[rehearse]\nstream_ends = \"done\"\n"),
            "kiln.toml:8:15: 'stream_ends' is given without 'stream'",
        ),
    ];
    for (text, expected) in table {
        let found = complaint(&text);
        assert!(found.starts_with(expected), "expected {expected}\nfound    {found}\nin\n{text}");
        assert!(found.contains(" | ") && found.ends_with('^'), "there is a caret: {found}");
    }
}

#[test]
fn all_complaints_come_at_once_in_the_order_of_the_text() {
    let text =
        format!("{IMAGE}base = \"arch\"\nsize = \"2TB\"\n[[service]]\nname = \"shop\"\npath = \"x\"\n");
    let found = complaint(&text);
    let places: Vec<_> =
        found.lines().filter_map(|line| line.strip_prefix("kiln.toml:")?.split(": ").next()).collect();
    assert_eq!(places, ["3:8", "4:8", "6:8", "7:8"], "{found}");
}

#[test]
fn defaults_fill_what_a_dozen_lines_leave_out() {
    let (manifest, _) =
        Manifest::parse(&format!("{IMAGE}{SERVICE}"), Path::new("/app")).expect("it is valid");
    assert_eq!((manifest.image.base.as_str(), manifest.image.size_gib), ("debian-12", 2));
    let frontend = manifest.services[0].frontend.as_ref().expect("a frontend");
    assert_eq!((frontend.build.as_str(), frontend.dist.as_path()), ("npm run build", Path::new("dist")));
}
