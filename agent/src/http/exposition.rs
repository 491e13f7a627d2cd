//! `/metrics`: the agent's own state as Prometheus reads it, in its text format 0.0.4. Seconds, bytes and ratios, as
//! its naming guide has them; what is unknown is left out.

use crate::board::{CallEnd, Status};
use crate::lifecycle::{HookStep, Phase};
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// The `Content-Type`.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders all that is known.
pub(super) fn text(status: &Status) -> String {
    let mut page = Page::default();
    page.family("kiln_build_info", Kind::Gauge, "The agent's version, always 1.");
    page.labelled(&[("version", &status.version)], 1);
    life(&mut page, status);
    drain(&mut page, status);
    page.family("kiln_check_healthy", Kind::Gauge, "Whether the health check passes.");
    for check in &status.checks {
        page.labelled(&[("check", &check.name)], yes(check.healthy == Some(true)));
    }
    page.family("kiln_check_duration_seconds", Kind::Gauge, "How long the check's last answer took.");
    for check in &status.checks {
        page.labelled(&[("check", &check.name)], float(check.elapsed_ms) / 1000.0);
    }
    asked(&mut page, status);
    published(&mut page, status);
    page.family("kiln_error", Kind::Gauge, "A part that has an error at present, always 1.");
    for part in status.errors.keys() {
        page.labelled(&[("part", part)], 1);
    }
    page.text
}

fn life(page: &mut Page, status: &Status) {
    page.plain("kiln_ready", Kind::Gauge, "Whether /readyz answers 200.", yes(status.ready));
    page.family("kiln_phase", Kind::Gauge, "1 for the phase that the instance is in.");
    for phase in Phase::ALL {
        page.labelled(&[("phase", phase.name())], yes(phase == status.phase));
    }
    page.plain("kiln_phase_seconds", Kind::Gauge, "Time spent in the phase.", status.phase_seconds);
    if let Some(left) = status.deadline_seconds {
        page.plain(
            "kiln_deadline_seconds",
            Kind::Gauge,
            "Time until the phase gives up, or ends at the latest.",
            left,
        );
    }
    page.family("kiln_hook", Kind::Gauge, "The step that a lifecycle hook is at, always 1.");
    for (hook, step) in &status.hooks {
        let step = match step {
            HookStep::Idle => "idle",
            HookStep::Watched => "watched",
            HookStep::Waiting => "waiting",
            HookStep::Asked(_) => "asked",
            HookStep::Settled(_) => "settled",
        };
        page.labelled(&[("hook", hook), ("step", step)], 1);
    }
    page.family("kiln_notice", Kind::Gauge, "A notice that was heard, always 1.");
    for notice in &status.notices {
        page.labelled(&[("notice", notice.name())], 1);
    }
}

fn drain(page: &mut Page, status: &Status) {
    let mut targets: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &status.targets {
        *targets.entry(&row.state).or_default() += 1;
    }
    page.family("kiln_targets", Kind::Gauge, "The instance's targets by state, as a drain last read them.");
    for (state, count) in targets {
        page.labelled(&[("state", state)], count);
    }
    if let Some(connections) = status.connections {
        page.plain(
            "kiln_connections",
            Kind::Gauge,
            "Connections with work in flight, as a drain last counted them.",
            connections,
        );
    }
}

fn asked(page: &mut Page, status: &Status) {
    let imds = status.imds;
    page.plain("kiln_imds_requests_total", Kind::Counter, "Requests to the metadata service.", imds.requests);
    page.plain(
        "kiln_imds_errors_total",
        Kind::Counter,
        "Those without a usable answer; an absent item is one.",
        imds.errors,
    );
    page.family(
        "kiln_aws_calls_total",
        Kind::Counter,
        "Calls of AWS, with their retries, by how they ended.",
    );
    for (operation, row) in &status.calls {
        for ended in CallEnd::ALL {
            page.labelled(&[("operation", operation), ("result", ended.name())], row.of(ended));
        }
    }
}

fn published(page: &mut Page, status: &Status) {
    let (metrics, cpu) = (status.metrics, status.metrics.cpu);
    page.plain(
        "kiln_cpu_utilization_ratio",
        Kind::Gauge,
        "The CPUs' time in the last sample but idle and iowait.",
        cpu.utilization / 100.0,
    );
    page.family("kiln_cpu_ratio", Kind::Gauge, "The CPUs' time in the last sample by mode.");
    for (mode, percent) in
        [("user", cpu.user), ("system", cpu.system), ("iowait", cpu.iowait), ("steal", cpu.steal)]
    {
        page.labelled(&[("mode", mode)], percent / 100.0);
    }
    for (name, help, space) in [
        ("kiln_memory_used_bytes", "Memory in use.", metrics.memory),
        ("kiln_disk_used_bytes", "The root file system's bytes in use.", metrics.disk),
    ] {
        if let Some(space) = space {
            page.plain(name, Kind::Gauge, help, space.used_bytes);
        }
    }
    for (name, help, space) in [
        ("kiln_memory_total_bytes", "All memory.", metrics.memory),
        ("kiln_disk_total_bytes", "The root file system's bytes, but those kept for root.", metrics.disk),
    ] {
        if let Some(space) = space {
            page.plain(name, Kind::Gauge, help, space.total_bytes);
        }
    }
    page.plain(
        "kiln_metrics_backlog_bytes",
        Kind::Gauge,
        "Memory that waiting datums take.",
        metrics.backlog_bytes,
    );
    page.plain("kiln_metrics_backlog", Kind::Gauge, "Datums that wait to be sent.", metrics.backlog);
    page.plain("kiln_metrics_sent_total", Kind::Counter, "Datums that CloudWatch took.", metrics.sent);
    page.plain(
        "kiln_metrics_dropped_total",
        Kind::Counter,
        "Datums that were refused, or too old for the buffer.",
        metrics.dropped,
    );
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// Families of samples, each under its one HELP and TYPE.
#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.family = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn plain(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let _ = writeln!(self.text, "{}{{{}}} {value}", self.family, labels.join(","));
    }
}

fn yes(flag: bool) -> u8 {
    u8::from(flag)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of one answer are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
