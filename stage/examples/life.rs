//! Plays `life` on an extracted root: `life ROOT SCRATCH [--user-data FILE] [--stream PATH] [PATH…]`, as root.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kiln_stage::{Event, LifeConfig, Observer, StreamRoute, Verdict};

fn main() -> Result<()> {
    let ground = kiln_stage::enter()?;
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().context("usage: life ROOT SCRATCH [PATH…]")?;
    let scratch = arguments.next().context("usage: life ROOT SCRATCH [PATH…]")?;
    let mut config = LifeConfig::new(root, &scratch);
    let mut paths = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--user-data" => {
                config.user_data = Some(std::fs::read(arguments.next().context("--user-data FILE")?)?);
            }
            "--stream" => {
                config.stream =
                    Some(StreamRoute { path: arguments.next().context("--stream PATH")?, ends_with: None });
            }
            _ => paths.push(argument),
        }
    }
    if !paths.is_empty() {
        config.paths = paths;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tell: Observer = Arc::new(|event: &Event| {
        let line = format!("{:7.2}  {:5}  {}\n", event.at, event.who.name(), event.text);
        // A closed terminal is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    let rehearsal = runtime.block_on(kiln_stage::play(&ground, &config, tell))?;
    std::fs::write(Path::new(&scratch).join("rehearsal.json"), serde_json::to_vec_pretty(&rehearsal)?)?;
    std::fs::write(Path::new(&scratch).join("rehearsal.html"), kiln_stage::html::render(&rehearsal)?)?;
    let mut out = std::io::stdout().lock();
    for promise in &rehearsal.promises {
        let mark = if promise.kept { "kept" } else { "BROKEN" };
        writeln!(out, "{mark:6}  {}: {}", promise.promise, promise.evidence)?;
    }
    for (name, value) in &rehearsal.figures {
        writeln!(out, "{name} {value}")?;
    }
    anyhow::ensure!(rehearsal.verdict == Verdict::Kept, "a promise was broken");
    Ok(())
}
