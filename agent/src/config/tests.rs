//! Files as they are written, and what is wrong with them.

use super::*;
use proptest::prelude::*;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../templates/image/etc/kiln/agent.toml.j2");

#[test]
fn an_empty_file_is_the_defaults() {
    let config = Config::parse("", "agent.toml").expect("every key is optional");
    assert_eq!(config.imds_poll, Duration::from_secs(1));
    assert_eq!(config.listen.to_string(), "127.0.0.1:9180");
    assert_eq!(config.quiet, Duration::from_secs(5));
    assert_eq!(config.metrics.namespace, "Kiln");
    assert!(config.checks.is_empty());
}

#[test]
fn wrong_files_are_refused_with_the_place_and_the_way_out() {
    let cases = [
        ("[imds]\npol = \"1s\"\n", "agent.toml:2:1: unknown field `pol`"),
        ("[imds]\npoll = \"1 lightyear\"\n", "agent.toml:2:8: '1 lightyear' is no duration"),
        ("[imds]\npoll = \"0s\"\n", "must be more than zero"),
        ("[imds]\npoll = 1\n", "agent.toml:2:8: invalid type: integer"),
        ("[health]\nlisten = \"somewhere\"\n", "agent.toml:2:10: invalid socket address"),
        ("[health]\nready_after = 0\n", "agent.toml:2:15:"),
        ("[recorder]\n", "agent.toml:1:2: unknown field `recorder`"),
        ("[record]\nto = \"s3\"\n", "record.to = \"s3\" needs record.bucket"),
        ("[record]\nto = \"logs\"\nlog_group = \"\"\n", "record.to = \"logs\" needs record.log_group"),
        ("[record]\nto = \"tape\"\n", "agent.toml:2:6: unknown variant `tape`"),
        ("[record]\nbucket = \"a/b\"\n", "record.bucket must be a bucket's name"),
        ("[record]\nprefix = \"/a\"\n", "record.prefix must be"),
        ("[drain]\ntarget_groups = \"all\"\n", "neither \"auto\" nor a list"),
        ("[drain]\ntarget_groups = [\"web\"]\n", "'web' is no target group ARN"),
        ("[drain]\nquiet = \"10m\"\n", "drain.quiet must be shorter than drain.max"),
        ("[drain]\nports = [70000]\n", "agent.toml:2:10:"),
        ("[drain]\nstub_status = \"https://x/\"\n", "it must begin with http://"),
        ("[lifecycle]\nlaunch_hook = \"\"\n", "a name is empty"),
        ("[lifecycle]\non_failure = \"shrug\"\n", "agent.toml:2:14: unknown variant `shrug`"),
        ("[metrics]\ndimensions = [\"Host\"]\n", "only InstanceId and AutoScalingGroupName"),
        ("[metrics]\npublish = [\"load\"]\n", "agent.toml:2:12: unknown variant `load`"),
        ("[metrics]\npublish = []\n", "must not be empty: set metrics.enabled = false"),
        ("[metrics]\npublish = [\"cpu\", \"cpu\"]\n", "metrics.publish names something twice"),
        ("[metrics]\nresolution = \"30s\"\n", "metrics.resolution must be 10s or 60s"),
        ("[metrics]\nnamespace = \"AWS/EC2\"\n", "not one of AWS' own"),
        ("[metrics]\nsample = \"1m\"\n", "metrics.sample must be at most 10s"),
        ("[[health.check]]\nname = \"a\"\n", "'a' needs exactly one of http"),
        ("[[health.check]]\nname = \"a\"\ntcp = \"x:1\"\nunix = \"/x\"\n", "'a' needs exactly one of http"),
        ("[[health.check]]\nname = \"a\"\nhttp = \"ftp://x\"\n", "it must begin with http://"),
        ("[[health.check]]\nname = \"a\"\ncommand = []\n", "'a' has an empty command"),
        ("[imds\n", "agent.toml:1:6:"),
    ];
    for (text, expected) in cases {
        let error = Config::parse(text, "agent.toml").expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}\n  gave {error}\n  not  {expected}");
    }
}

#[test]
fn a_syntax_error_shows_the_line_and_a_caret() {
    let error = Config::parse("[drain]\nmax = \"soon\"\n", "agent.toml")
        .expect_err("'soon' is no duration")
        .to_string();
    assert!(error.contains("2 | max = \"soon\""), "{error}");
    assert!(error.contains("^^^^^^"), "{error}");
}

#[test]
fn fragments_win_in_the_order_of_their_names_and_add_checks() {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let main = folder.path().join("agent.toml");
    let dropins = folder.path().join("agent.d");
    std::fs::create_dir(&dropins).expect("a fresh folder");
    let check = |name: &str| format!("[[health.check]]\nname = \"{name}\"\ntcp = \"127.0.0.1:80\"\n");
    let write = |path: &Path, text: String| std::fs::write(path, text).expect("a fresh file");
    write(&main, format!("[drain]\nmax = \"1m\"\nquiet = \"2s\"\n{}", check("a")));
    write(&dropins.join("20-b.toml"), format!("[drain]\nmax = \"3m\"\n{}", check("b")));
    write(&dropins.join("10-a.toml"), "[drain]\nmax = \"2m\"\n".to_owned());
    write(&dropins.join("README"), "not a fragment".to_owned());
    let config = Config::load(&main, true).expect("all of it is valid");
    assert_eq!((config.drain_max.as_secs(), config.quiet.as_secs()), (180, 2));
    assert_eq!(config.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    write(&dropins.join("30-c.toml"), "[drain]\nmx = \"3m\"\n".to_owned());
    let error = Config::load(&main, true).expect_err("a key is unknown").to_string();
    assert!(error.contains("30-c.toml:2:1: unknown field `mx`"), "{error}");
}

#[test]
fn a_missing_file_matters_only_when_it_was_named() {
    let path = Path::new("/nonexistent/agent.toml");
    assert!(Config::load(path, false).is_ok());
    let error = Config::load(path, true).expect_err("it was named").to_string();
    assert!(error.starts_with("failed to read configuration '/nonexistent/agent.toml'"), "{error}");
}

#[test]
fn the_shipped_reference_says_the_defaults() {
    let template = std::fs::read_to_string(SHIPPED).expect("the template is in the tree");
    let plain: String = template
        .lines()
        .filter(|line| !line.contains("{%") && !line.contains("{{"))
        .fold(String::new(), |text, line| text + line + "\n");
    let head = plain.split("[[health.check]]").next().expect("a split yields one part").to_owned();
    let tail = plain.split_once("[lifecycle]").expect("the template has the table").1;
    let shipped =
        Config::parse(&format!("{head}\n[lifecycle]{tail}"), "agent.toml.j2").expect("what ships is valid");
    assert_eq!(shipped, Config::parse("", "defaults").expect("every key is optional"));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        let _ = Config::parse(&text, "agent.toml");
    }
}
