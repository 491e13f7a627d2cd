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
    let table: [(String, &str); 27] = [
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
            "kiln.toml:3:8: base 'arch' is not known: use 'debian-12', 'debian-13' or the path of a root",
        ),
        (
            format!("{IMAGE}packages = [\"jq\", \"A b\"]\n{SERVICE}"),
            "kiln.toml:3:19: package 'A b' is not the name",
        ),
        (
            format!("{IMAGE}cloud_init = \"off\"\n{SERVICE}"),
            "kiln.toml:3:14: cloud_init 'off' is none of 'take-over', 'wait'",
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
        (
            format!("{IMAGE}[image.hardening]\nsshd = false\n{SERVICE}"),
            "kiln.toml:4:8: 'sshd' is no item of hardening: it is one of ssh, kernel",
        ),
        (
            format!("{IMAGE}{SERVICE}[expect]\nsecrets = [{{ rule = \"generic\", path = \"/srv/\" }}]\n"),
            "kiln.toml:8:21: 'generic' is no rule of the secrets scan",
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

/// A manifest in a folder with a frontend that is locked, and what `[userdata]` and files are given.
fn with_user_data(section: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, anyhow::Result<Manifest>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let manifest = format!("{IMAGE}{SERVICE}{section}");
    let lock =
        [("kiln.toml", manifest.as_str()), ("web/package.json", "{}"), ("web/package-lock.json", "{}")];
    for (name, text) in lock.iter().chain(files) {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }
    let loaded = Manifest::load(dir.path());
    (dir, loaded)
}

#[test]
fn the_manifests_tables_and_parts_become_user_data_that_an_instance_reads() {
    let section = "[userdata]\nparts = [\"deploy/first.sh\"]\n[userdata.env]\nLOG_LEVEL = \"info\"\n\
        DATABASE_URL = { ssm = \"/shop/url\" }\n[userdata.service.shop.env]\nWORKERS = 2\n\
        [[userdata.file]]\npath = \"/etc/motd\"\ncontent = '''\nit's\n\"here\"\n'''\n\
        [[userdata.run]]\nname = \"migrate\"\ncommand = [\"/bin/true\"]\n[userdata.agent]\ndrain.max = \"90s\"\n";
    let (dir, manifest) = with_user_data(section, &[("deploy/first.sh", "#!/bin/sh\necho 1\n")]);
    let composed = kiln::userdata::compose(&manifest.expect("it is valid")).expect("it fits");
    let data = kiln_userdata::parse(&composed.bytes).expect("an instance reads it");
    let told = data.to_string();
    let expected = "part 1 ('kiln.toml'): a #kiln document\n       env  DATABASE_URL from parameter /shop/url\n       \
        env  LOG_LEVEL from a literal\n       env  WORKERS of shop from a literal\n      \
        file  /etc/motd 0644 root, 12 bytes written\n       run  migrate: /bin/true, once per instance\n     \
        agent  drain\npart 2 ('first.sh'): a script, run once per instance by /bin/sh\n";
    assert_eq!(told, expected);
    drop(dir);
}

#[test]
fn one_table_alone_stays_plain_text() {
    let (_dir, manifest) = with_user_data("[userdata.env]\nLOG_LEVEL = \"info\"\n\"A\" = \"it's\"\n", &[]);
    let composed = kiln::userdata::compose(&manifest.expect("it is valid")).expect("it fits");
    assert_eq!(
        String::from_utf8_lossy(&composed.bytes),
        "#kiln\n[env]\nA = \"it's\"\nLOG_LEVEL = \"info\"\n"
    );
}

/// What `[userdata]` says, the files beside it, and how the refusal begins.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn user_data_that_an_instance_would_refuse_is_refused_at_its_place() {
    let script = "#!/bin/sh\nexport DB_PASSWORD='hunter2'\n";
    // Six bits a letter that gzip cannot take out (Marsaglia's xorshift): three times 9000 are 20 kB.
    let large = |seed: u32| {
        let next = |x: &u32| {
            Some(
                [13_i32, -17, 5]
                    .iter()
                    .fold(*x, |x, by| if *by > 0 { x ^ (x << by) } else { x ^ (x >> -by) }),
            )
        };
        let noise = std::iter::successors(Some(seed), next).skip(1).take(9000);
        let letters = noise.map(|x| char::from(b'0' + u8::try_from(x >> 26).expect("six bits")));
        format!("#!/bin/sh\n#{}\n", letters.collect::<String>())
    };
    let (one, two, three) = (large(1), large(2), large(3));
    let table: [Case<'_>; 10] = [
        ("[userdata]\nenvs = 1\n", &[], "kiln.toml:8:1: unknown field `envs`"),
        (
            "[userdata.env]\n\"a-b\" = \"1\"\n",
            &[],
            "kiln.toml:8:1: invalid 'env': a variable's name is letters",
        ),
        ("[[userdata.run]]\nname = \"a\"\n", &[], "kiln.toml:7:1: missing key 'command'"),
        (
            "[userdata.service.till.env]\nA = \"1\"\n",
            &[],
            "kiln.toml:7:1: 'till' is no [[service]] of this manifest",
        ),
        (
            "[userdata.env]\nA = \"1\"\nAPI_KEY = \"hunter2\"\n",
            &[],
            "kiln.toml:9:1: this looks like a literal secret",
        ),
        (
            "[userdata]\nparts = [\"none\"]\n",
            &[],
            "kiln.toml:8:10: failed to read the part 'none': No such file",
        ),
        (
            "[userdata]\nparts = [\"../a\"]\n",
            &[],
            "kiln.toml:8:10: part '../a' must be a file under the manifest's own folder",
        ),
        (
            "[userdata]\nparts = [\"a\", \"b\"]\n",
            &[("a", "#!/bin/sh\n"), ("b", "echo\n")],
            "kiln.toml:8:15: b, byte 0: is of no known kind",
        ),
        (
            "[userdata]\nparts = [\"a\"]\n[userdata.env]\nA = \"1\"\n",
            &[("a", script)],
            "kiln.toml:8:10: a, line 2, column 8: looks like a literal secret",
        ),
        (
            "[userdata]\nparts = [\"a\", \"b\", \"c\"]\n",
            &[("a", &one), ("b", &two), ("c", &three)],
            "kiln.toml:7:1: user data",
        ),
    ];
    for (section, files, expected) in table {
        let (_dir, loaded) = with_user_data(section, files);
        let error = loaded.expect_err(section);
        assert_eq!(kiln::failure::code(&error), 78, "{error:#}");
        let found = error.to_string();
        assert!(found.starts_with(expected), "expected {expected}\nfound    {found}\nin\n{section}");
        assert!(found.ends_with('^'), "there is a caret: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn what_publish_asks_for_is_what_aws_takes() {
    let publish = |line: &str| format!("{IMAGE}{SERVICE}[aws]\nregion = \"us-east-1\"\n[publish]\n{line}\n");
    let table = [
        ("regions = [\"Ireland\"]", "'Ireland' is not a region"),
        ("regions = [\"us-east-1\"]", "'us-east-1' is where the image is made"),
        ("accounts = [\"12345\"]", "'12345' is not an account"),
        ("deprecate_after = \"4w\"", "deprecate_after '4w' is not a number of days"),
        ("parameter = \"/aws/ami\"", "parameter '/aws/ami' is not one that SSM takes"),
        ("kms_key = \"alias/shop\"", "kms_key 'alias/shop' is not a key's ARN"),
        ("keep = 0", "keep 0 would retire the image"),
    ];
    for (line, expected) in table {
        let told = complaint(&publish(line));
        assert!(told.starts_with("kiln.toml:") && told.contains(expected), "{line}: {told}");
    }
    let good = "regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"90d\"\nparameter = \"/shop/ami\"";
    assert_eq!(complaint(&publish(good)), "it is valid");
}
