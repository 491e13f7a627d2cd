//! Performs a command: namespaces before threads, threads before signals, one answer at the end.

mod aws;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::CommandFactory as _;
use kiln_image::Os;
use kiln_stage::Verdict;
use nix::sys::stat::{Mode, umask};
use serde::Serialize;

use crate::bench::{self, Bench, cache_path};
use crate::cli::{Agent, Cli, Command, Global, On};
use crate::diff::{self, Aspect};
use crate::failure::{self, Failure};
use crate::inputs::{self, Inputs};
use crate::lockfile::{self, Lockfile};
use crate::manifest::{Manifest, Rehearse};
use crate::rehearse::Script;
use crate::report::Report;
use crate::signals::{GRACE, interruptible, runtime, signalled};
use crate::store::Store;
use crate::{bake, bundle, cache, host, init, outlook, policy, provision, rehearse, template, userdata};

/// What goes to stdout.
struct Answer {
    text: String,
    json: serde_json::Value,
    code: u8,
    /// Bytes that go out instead of the text, as they are.
    raw: Option<Vec<u8>>,
}

impl Answer {
    fn new(text: impl Into<String>, value: &impl Serialize) -> anyhow::Result<Self> {
        let json = serde_json::to_value(value).context("failed to write the answer as JSON")?;
        Ok(Self { text: text.into(), json, code: 0, raw: None })
    }
}

/// The whole program but its arguments.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    let interrupt = crate::interrupt::Interrupt::default();
    let report = Report::new(global.json, global.verbose, global.colored(), interrupt.clone());
    let bench = match cache_path(|name| std::env::var_os(name)) {
        Ok(cache) => {
            let mirror = bench::mirror(|name| std::env::var_os(name));
            Arc::new(Bench { report, interrupt, cache, mirror })
        }
        Err(error) => return fail(&report, &error),
    };
    match perform(&bench, &global, command) {
        Ok(answer) => {
            print(&global, &answer);
            ExitCode::from(answer.code)
        }
        Err(error) => fail(&bench.report, &failure::explain(error, &[&bench.cache, &global.dir])),
    }
}

fn fail(report: &Report, error: &anyhow::Error) -> ExitCode {
    let code = failure::code(error);
    report.fail(error, code);
    ExitCode::from(code)
}

fn print(global: &Global, answer: &Answer) {
    if let (Some(raw), false) = (&answer.raw, global.json) {
        let _ = std::io::stdout().write_all(raw);
        return;
    }
    let text = if global.json { answer.json.to_string() } else { answer.text.clone() };
    if !text.is_empty() {
        // A reader that has gone away wants no answer.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

fn perform(bench: &Arc<Bench>, global: &Global, command: Command) -> anyhow::Result<Answer> {
    let dir = &global.dir;
    match command {
        Command::Init { dir: target, name } => start(&dir.join(target), name.as_deref()),
        Command::Check => check(dir),
        Command::Plan { policy: true, on, .. } => {
            let policy = policy::policy(&Manifest::load(dir)?, on)?;
            Answer::new(format!("{policy:#}"), &policy)
        }
        Command::Plan { agent, on: On::Instance, .. } => aws::plan(bench, dir, &agent),
        Command::Plan { agent, aws, .. } => {
            let manifest = Manifest::load(dir)?;
            let lock = Lockfile::fitting(&manifest)?;
            let inputs = collect(&manifest, &agent, lock.as_ref())?;
            let mut plan = outlook::plan(bench, &manifest, &inputs, lock.as_ref())?;
            if aws {
                plan.aws = Some(aws::there(&manifest, &plan)?);
            }
            Answer::new(plan.to_string(), &plan)
        }
        Command::Update { app_alone } => move_lock(bench, dir, app_alone),
        Command::Bake { on: On::Here, agent } => bake_image(bench, dir, &agent),
        Command::Bake { on: On::Instance, agent } => aws::bake(bench, dir, &agent),
        Command::Provision { root, bundle, agent } => {
            provision_root(bench, dir, &root, bundle.as_deref(), &agent)
        }
        Command::Rehearse { image, user_data } => play(bench, global, image.as_deref(), user_data),
        Command::Userdata { output, base64 } => give(bench, global, output.as_deref(), base64),
        Command::Diff { old, new, fail_on } => compare(bench, dir, [&old, &new], &fail_on),
        Command::Publish(what) => aws::send(bench, dir, what),
        Command::Resume(which) => aws::resume(bench, dir, which),
        Command::Abort(which) => aws::abort(bench, dir, which),
        Command::Gc(what) if what.cache => {
            let collected = cache::collect(bench, what.max)?;
            Answer::new(collected.to_string(), &collected)
        }
        Command::Gc(what) => aws::collect(dir, &what),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kiln", &mut script);
            let script = String::from_utf8_lossy(&script).trim_end().to_owned();
            Answer::new(script.clone(), &script)
        }
    }
}

fn start(dir: &Path, name: Option<&str>) -> anyhow::Result<Answer> {
    let written = init::init(dir, name)?;
    let shown = written.dir.display();
    let text = format!(
        "wrote the starter '{}' to {shown}: {} files\n\nnext:\n  kiln -C {shown} check\n  kiln -C {shown} bake\n  kiln -C {shown} rehearse",
        written.name, written.files
    );
    Answer::new(
        text,
        &serde_json::json!({ "dir": written.dir, "name": written.name, "files": written.files }),
    )
}

fn check(dir: &Path) -> anyhow::Result<Answer> {
    let manifest = Manifest::load(dir)?;
    let releases: Vec<_> = manifest.services.iter().map(|_| "0".repeat(12)).collect();
    let lock = Lockfile::fitting(&manifest)?;
    let files = template::image(&template::View::new(&manifest, &releases, inputs::os_of(&manifest)))?;
    let names: Vec<_> =
        manifest.services.iter().map(|service| format!("{} at {}", service.name, service.path)).collect();
    let text = format!(
        "{} is valid: image '{}' with {}",
        crate::manifest::FILE,
        manifest.image.name,
        names.join(", ")
    );
    Answer::new(
        text,
        &serde_json::json!({ "valid": true, "manifest": manifest, "files": files.len(), "locked": lock.is_some() }),
    )
}

fn collect(manifest: &Manifest, agent: &Agent, lock: Option<&Lockfile>) -> anyhow::Result<Inputs> {
    Inputs::collect(manifest, &inputs::find_agent(agent.named().as_deref())?, lock, inputs::os_of(manifest))
}

fn move_lock(bench: &Arc<Bench>, dir: &Path, app_alone: bool) -> anyhow::Result<Answer> {
    let manifest = Manifest::load(dir)?;
    let extent = if app_alone { lockfile::Extent::App } else { lockfile::Extent::Whole };
    let updated = interruptible(bench, move |bench| lockfile::update(bench, &manifest, extent))?;
    Answer::new(updated.to_string(), &updated)
}

fn bake_image(bench: &Arc<Bench>, dir: &Path, agent: &Agent) -> anyhow::Result<Answer> {
    let (manifest, agent) = (Manifest::load(dir)?, agent.clone());
    own_ground()?;
    let receipt = interruptible(bench, move |bench| {
        let in_use = cache::InUse::begin(bench)?;
        let lock = lockfile::ensure(bench, &manifest)?;
        let inputs = collect(&manifest, &agent, Some(&lock))?;
        bake::bake(bench, &manifest, &inputs, &lock, in_use)
    })?;
    Answer::new(receipt.to_string(), &receipt)
}

fn provision_root(
    bench: &Arc<Bench>,
    dir: &Path,
    root: &Path,
    bundle: Option<&Path>,
    agent: &Agent,
) -> anyhow::Result<Answer> {
    let found = root.canonicalize();
    let root = found.with_context(|| {
        format!("failed to find the root '{}': name a folder with a root, or '/'", root.display())
    })?;
    let os = Os::of_root(&root)?;
    let (manifest, inputs) = if let Some(bundle) = bundle {
        bundle::open(bundle, os)?
    } else {
        let manifest = Manifest::load(dir)?;
        let inputs = Inputs::collect(&manifest, &inputs::find_agent(agent.named().as_deref())?, None, os)?;
        (manifest, inputs)
    };
    let seal = bundle.is_some();
    host::need_root("provisioning a root")?;
    host::need(&[host::SANDBOX])?;
    let text = format!("{} carries image '{}', services ready to start", root.display(), manifest.image.name);
    own_ground()?;
    let steps = interruptible(bench, move |bench| {
        let _in_use = cache::InUse::begin(bench)?;
        let steps = provision::onto(bench, &root, &manifest, &inputs)?;
        if seal {
            let files = bundle::seal(&root)?;
            bench.report.say(&format!("cleaned, and looked through: {files} files, no findings"));
        }
        Ok(steps)
    })?;
    Answer::new(text, &serde_json::json!({ "steps": steps }))
}

/// Only root can have mounts of its own; what an ordinary user asks for either needs none or is refused later, with a
/// reason. The caller's umask is no part of an image.
fn own_ground() -> anyhow::Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    if nix::unistd::Uid::effective().is_root() {
        kiln_image::private_mounts()?;
    }
    Ok(())
}

fn play(
    bench: &Arc<Bench>,
    global: &Global,
    image: Option<&str>,
    user_data: Option<std::path::PathBuf>,
) -> anyhow::Result<Answer> {
    let dir = &global.dir;
    let store = Store::of(dir);
    let found = store.resolve(image)?;
    host::need_root("a rehearsal")?;
    kiln_stage::missing::check().map_err(kiln_stage::Error::from)?;
    let ground = kiln_stage::enter().map_err(kiln_stage::Error::from)?;
    // An image can be rehearsed without its app at hand; its wishes are then not known.
    let wishes = Manifest::load(dir).map_or_else(|_| Rehearse::default(), |manifest| manifest.rehearse);
    let script = Script { wishes, user_data };
    let (runtime, stage) = (runtime()?, Arc::clone(bench));
    let played = runtime.block_on(async {
        tokio::select! {
            played = rehearse::rehearse(&stage, &ground, &store, found, &script) => played,
            () = signalled() => {
                stage.interrupt.raise();
                Err(Failure::Interrupted.into())
            }
        }
    });
    runtime.shutdown_timeout(GRACE);
    bench.interrupt.sweep();
    let played = played?;
    let rehearsal = &played.rehearsal;
    let kept = rehearsal.verdict == Verdict::Kept;
    if !rehearsal.journal_tail.is_empty() {
        bench.report.say("the instance's journal, without routine (seconds of the play):");
    }
    for line in &rehearsal.journal_tail {
        bench.report.say(line);
    }
    let color = global.colored() && std::io::stdout().is_terminal();
    let verdict = if kept { "kept" } else { "broken" };
    let (json, html) = (&played.json, &played.html);
    let text =
        format!("{}\nreport  {}\nverdict {verdict}", rehearse::table(rehearsal, color), html.display());
    let mut answer = Answer::new(
        text,
        &serde_json::json!({
            "verdict": verdict, "subject": rehearsal.subject, "promises": rehearsal.promises,
            "figures": rehearsal.figures, "load": rehearsal.load, "seconds": rehearsal.seconds,
            "rehearsal_json": json, "rehearsal_html": html,
        }),
    )?;
    answer.code = u8::from(!kept);
    Ok(answer)
}

fn give(bench: &Bench, global: &Global, output: Option<&Path>, base64: bool) -> anyhow::Result<Answer> {
    let composed = userdata::compose(&Manifest::load(&global.dir)?)?;
    let bytes = if base64 { userdata::base64(&composed).into_bytes() } else { composed.bytes.clone() };
    let mut answer = Answer::new("", &userdata::json(&composed))?;
    if let Some(path) = output {
        std::fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
        answer.json["file"] = path.display().to_string().into();
        answer.text = format!("{}, in {}", userdata::summary(&composed), path.display());
    } else {
        if !global.json {
            bench.report.say(&userdata::summary(&composed));
        }
        answer.raw = Some(bytes);
    }
    Ok(answer)
}

fn compare(
    bench: &Arc<Bench>,
    dir: &Path,
    [old, new]: [&str; 2],
    fail_on: &[Aspect],
) -> anyhow::Result<Answer> {
    let (store, old, new) = (Store::of(dir), aws::side(dir, old)?, aws::side(dir, new)?);
    let difference = interruptible(bench, move |bench| diff::diff(bench, &store, &old, &new))?;
    let mut answer = Answer::new(difference.to_string().trim_end(), &difference)?;
    let touched: Vec<_> = fail_on.iter().filter(|aspect| difference.touches(**aspect)).collect();
    if !touched.is_empty() {
        let names: Vec<_> = touched.into_iter().filter_map(clap::ValueEnum::to_possible_value).collect();
        let names: Vec<_> = names.iter().map(clap::builder::PossibleValue::get_name).collect();
        bench.report.say(&format!("refused by --fail-on: {} differ", names.join(", ")));
        answer.code = 1;
    }
    Ok(answer)
}
