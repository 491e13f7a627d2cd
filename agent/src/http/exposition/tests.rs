//! The page, read back by a parser that takes nothing but what the format's definition says.

use super::*;
use crate::board::{CallRow, CheckRow, ImdsRow, Space, TargetRow};
use crate::fake;
use crate::lifecycle::{Hook, Notice, Settled};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn a_life_in_the_middle_of_its_drain_is_told_whole() {
    let mut status = fake::board().snapshot();
    status.phase = Phase::Draining;
    status.deadline_seconds = Some(42);
    status.connections = Some(3);
    status.notices = vec![Notice::Group];
    status.hooks.insert(Hook::Launch.name().to_owned(), HookStep::Settled(Settled::Completed));
    status.targets = ["draining", "draining", "healthy"].map(target).into();
    status.checks = vec![check("shop \"1\"\\\n")];
    status.imds = ImdsRow { requests: 70, errors: 2 };
    status.calls.insert("PutMetricData".to_owned(), CallRow { ok: 5, failed: 1, ..CallRow::default() });
    status.metrics.cpu.utilization = 25.0;
    status.metrics.memory = Some(Space { used_bytes: 5, total_bytes: 8 });
    status.errors.insert("targets".to_owned(), "denied".to_owned());
    let samples = parse(&text(&status)).expect("the page is of the format");
    let expected = [
        ("kiln_build_info{version=0.1.0}", 1.0),
        ("kiln_ready{}", 0.0),
        ("kiln_phase{phase=draining}", 1.0),
        ("kiln_phase{phase=serving}", 0.0),
        ("kiln_deadline_seconds{}", 42.0),
        ("kiln_hook{hook=launch,step=settled}", 1.0),
        ("kiln_notice{notice=group}", 1.0),
        ("kiln_targets{state=draining}", 2.0),
        ("kiln_connections{}", 3.0),
        ("kiln_check_healthy{check=shop \"1\"\\\n}", 1.0),
        ("kiln_check_duration_seconds{check=shop \"1\"\\\n}", 0.012),
        ("kiln_imds_requests_total{}", 70.0),
        ("kiln_imds_errors_total{}", 2.0),
        ("kiln_aws_calls_total{operation=PutMetricData,result=ok}", 5.0),
        ("kiln_aws_calls_total{operation=PutMetricData,result=failed}", 1.0),
        ("kiln_aws_calls_total{operation=PutMetricData,result=silent}", 0.0),
        ("kiln_cpu_utilization_ratio{}", 0.25),
        ("kiln_memory_used_bytes{}", 5.0),
        ("kiln_memory_total_bytes{}", 8.0),
        ("kiln_error{part=targets}", 1.0),
    ];
    for (sample, value) in expected {
        assert_eq!(samples.get(sample), Some(&value), "{sample} in {samples:#?}");
    }
}

#[test]
fn a_life_that_has_just_begun_leaves_out_what_is_unknown() {
    let samples = parse(&text(&fake::board().snapshot())).expect("the page is of the format");
    assert_eq!(samples.get("kiln_phase{phase=bootstrapping}"), Some(&1.0));
    let has = |name: &str| samples.keys().any(|sample| sample.starts_with(name));
    assert!(
        !has("kiln_connections") && !has("kiln_disk") && !has("kiln_aws_calls_total") && !has("kiln_error")
    );
}

#[test]
fn the_parser_is_strict() {
    let head = "# HELP a b\n# TYPE a gauge\n";
    let wrong = [
        "a 1",
        "a 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a b\na 1\n",
        "# HELP a b\n# TYPE a gauge\n# HELP a b\n# TYPE a gauge\n",
        "# HELP a b\n# TYPE a counter\na 1\n",
        "# HELP a b\n# TYPE a thing\na 1\n",
    ];
    let wrong_samples = [
        "b 1\n",
        "a x\n",
        "a 1\na 2\n",
        "a{x=1} 1\n",
        "a{x=\"\\q\"} 1\n",
        "a{x=\"1\",x=\"2\"} 1\n",
        "a  1\n",
    ];
    assert!(parse(&format!("{head}a{{x=\"1\"}} 1\na 2\n")).is_ok());
    for text in wrong.map(str::to_owned).into_iter().chain(wrong_samples.map(|text| format!("{head}{text}")))
    {
        assert!(parse(&text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_name_of_a_check_or_a_state_makes_a_page(name in any::<String>(), state in any::<String>()) {
        let mut status = fake::board().snapshot();
        status.checks = vec![check(&name)];
        status.targets = vec![target(&state)];
        let samples = parse(&text(&status)).map_err(TestCaseError::fail)?;
        let healthy = format!("kiln_check_healthy{{check={name}}}");
        let targets = format!("kiln_targets{{state={state}}}");
        prop_assert!(samples.contains_key(&healthy) && samples.contains_key(&targets));
    }
}

fn check(name: &str) -> CheckRow {
    CheckRow { name: name.to_owned(), healthy: Some(true), error: None, elapsed_ms: 12 }
}

fn target(state: &str) -> TargetRow {
    TargetRow {
        group: "arn".to_owned(),
        id: "i-0abc".to_owned(),
        port: Some(80),
        zone: None,
        state: state.to_owned(),
        reason: None,
    }
}

/// Samples by name and labels, as `name{label=value,…}` without escapes. Lines end with a line feed alone; each family has
/// one HELP and one TYPE before its samples, which stand together; counters end in `_total`.
fn parse(page: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut helped, mut family) = (String::new(), String::new());
    for line in page.strip_suffix('\n').ok_or("the last line has no end")?.split('\n') {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_default();
            if !families.insert(name.to_owned()) || help.is_empty() {
                return wrong("a family is helped twice, or not at all");
            }
            helped = name.to_owned();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_default();
            if name != helped || !["gauge", "counter"].contains(&kind) {
                return wrong("a type without its help, or none that is known");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("a counter ends in _total, and nothing else does");
            }
            family = name.to_owned();
            continue;
        }
        let (name, labels, value) = sample(line).map_err(|what| format!("{what}: {line}"))?;
        if name != family {
            return wrong("a sample outside its family");
        }
        if samples.insert(format!("{name}{{{}}}", labels.join(",")), value).is_some() {
            return wrong("a sample twice");
        }
    }
    Ok(samples)
}

fn sample(line: &str) -> Result<(&str, Vec<String>, f64), String> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a name is no name".to_owned());
    }
    let mut labels: Vec<String> = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, quoted) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
            if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                return Err(format!("'{label}' is no label"));
            }
            if labels.iter().any(|other| other.split('=').next() == Some(label)) {
                return Err(format!("'{label}' twice"));
            }
            let (value, after) = unquote(quoted)?;
            labels.push(format!("{label}={value}"));
            rest = after;
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                rest = rest.strip_prefix('}').ok_or("labels without an end")?;
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    if value.starts_with(' ') {
        return Err("two spaces".to_owned());
    }
    Ok((name, labels, value.parse().map_err(|_| "a value is no number".to_owned())?))
}

fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("an escape that is none".to_owned()),
            },
            _ => value.push(character),
        }
    }
    Err("a value without an end".to_owned())
}
