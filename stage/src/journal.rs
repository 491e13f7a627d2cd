//! The instance's journal as a reader of the report wants it: the play's own time, the agent's fields, no routine. Pure.

use serde_json::{Map, Value};

/// Lines among which one that was said before is only counted.
const ROUND: usize = 6;
/// syslog's `notice`: what systemd says above it ("Started …") is routine.
const NOTICE: u64 = 5;

/// The last lines worth reading of `journalctl -o json`, so many at most; `epoch` is the beginning of the play, Unix time.
pub(crate) fn tail(journal: &str, epoch: f64, lines_at_most: usize) -> Vec<String> {
    let entries = journal.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let mut lines: Vec<(String, String, usize)> = Vec::new();
    for entry in entries {
        let Some((at, text)) = line(&entry, epoch) else { continue };
        // A unit that fails in a loop would push its cause out; a round of it is some lines long.
        let recent = lines.iter_mut().rev().take(ROUND).find(|(_, said, _)| *said == text);
        match recent {
            Some((_, _, times)) => *times += 1,
            None => lines.push((at, text, 1)),
        }
    }
    let from = lines.len().saturating_sub(lines_at_most);
    let told = lines.drain(from..).map(|(at, text, times)| match times {
        1 => format!("{at}  {text}"),
        _ => format!("{at}  {text} (×{times})"),
    });
    told.collect()
}

/// When it was, and who said what; `None` for routine.
fn line(entry: &Map<String, Value>, epoch: f64) -> Option<(String, String)> {
    let who = text(entry.get("SYSLOG_IDENTIFIER").or_else(|| entry.get("_COMM"))?);
    let message = text(entry.get("MESSAGE")?);
    let number = |name: &str| text(entry.get(name).unwrap_or(&Value::Null)).parse::<f64>().ok();
    let quiet = entry.get("PRIORITY").and_then(|value| text(value).parse().ok()).unwrap_or(0_u64) > NOTICE;
    let routine = quiet && (who.starts_with("systemd") || who == "kernel")
        // nginx's access log, one JSON object a request: the report has the failed ones.
        || who == "nginx" && message.starts_with('{');
    if routine {
        return None;
    }
    let at = number("__REALTIME_TIMESTAMP")? / 1e6 - epoch;
    let fields = entry.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("KILN_")?;
        Some(format!(" {}={}", name.to_lowercase(), text(value)))
    });
    Some((format!("{at:>8.2}"), format!("{who}: {message}{}", fields.collect::<String>())))
}

/// A field's text; journald writes one that is no UTF-8 as an array of bytes, and one that came twice as an array.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let bytes: Option<Vec<u8>> =
                parts.iter().map(|part| part.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            match bytes {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => parts.iter().map(text).collect::<Vec<_>>().join(", "),
            }
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_there_and_routine_is_not() {
        let entry = |second: f64, who: &str, priority: u8, message: &str| {
            serde_json::json!({"__REALTIME_TIMESTAMP": format!("{:.0}", (1000.0 + second) * 1e6), "SYSLOG_IDENTIFIER": who,
                   "PRIORITY": priority.to_string(), "MESSAGE": message})
        };
        let mut failed = entry(2.5, "kiln-agent", 3, "bootstrap failed");
        failed["KILN_REASON"] = Value::from("user data script exited with 3");
        let journal = [
            entry(1.0, "systemd", 6, "Started nginx.service."),
            failed,
            entry(3.0, "systemd", 3, "Failed to start kiln-bootstrap.service."),
            entry(3.1, "systemd", 3, "Failed to start kiln-bootstrap.service."),
            entry(4.0, "nginx", 6, r#"{"status":200}"#),
            serde_json::json!({"__REALTIME_TIMESTAMP": "1005000000", "SYSLOG_IDENTIFIER": "app", "MESSAGE": [111, 107, 255]}),
        ];
        let text = journal.map(|entry| entry.to_string()).join("\n");
        assert_eq!(
            tail(&format!("{text}\nno JSON\n"), 1000.0, 60),
            [
                "    2.50  kiln-agent: bootstrap failed reason=user data script exited with 3",
                "    3.00  systemd: Failed to start kiln-bootstrap.service. (×2)",
                "    5.00  app: ok\u{fffd}",
            ]
        );
    }
}
