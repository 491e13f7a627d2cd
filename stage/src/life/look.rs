//! Looks at the instance: its health, its agent's own words, its journal.

use std::time::Duration;

use serde_json::Value;

use super::acts::Play;
use crate::journal::tail;
use crate::rehearsal::{Snapshot, Who};
use crate::server::status_of;
use crate::stage::HEALTH_PATH;

/// The agent's own port, inside the instance.
const AGENT: u16 = 9180;
/// One question to the instance; it is alive, but two cores may be busy booting it.
const ASK: Duration = Duration::from_secs(5);
/// Of the console, where there is no journal.
const TAIL: usize = 60;

impl Play<'_> {
    /// Asks the instance how it is.
    pub(super) async fn snapshot(&mut self, moment: &str) {
        let at = self.stage.cloud.at();
        let healthz = status_of(self.address, HEALTH_PATH, ASK).await.ok();
        let (readyz, status) = match &self.instance {
            Some(instance) => {
                let status = instance.exec(&["kiln-agent", "status", "--json"], ASK).await;
                let parsed = status.map(|output| {
                    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    serde_json::from_str(&text).unwrap_or(Value::from(text))
                });
                (instance.http_status(AGENT, "/readyz", ASK).await.ok(), parsed.unwrap_or_default())
            }
            None => (None, Value::Null),
        };
        let say = |status: Option<u16>| status.map_or("no answer".to_owned(), |status| status.to_string());
        let words = status.get("reason").and_then(Value::as_str);
        if moment == "launching" || moment == "failed" {
            self.heard(words);
        }
        // In service the two statuses say it all.
        let words =
            words.filter(|_| readyz != Some(200)).map(|words| format!(": {words}")).unwrap_or_default();
        self.stage
            .cloud
            .tell(Who::Agent, format!("{moment}: /healthz {}, /readyz {}{words}", say(healthz), say(readyz)));
        self.snapshots.push(Snapshot { at, moment: moment.to_owned(), healthz, readyz, status });
    }

    /// Keeps the whole journal in `journal.json` and its tail for the report.
    pub(super) async fn read_journal(&mut self) {
        let Some(instance) = &self.instance else { return };
        let read = ["journalctl", "--no-pager", "--quiet", "-o", "json"];
        let journal = instance.exec(&read, ASK * 2).await.map(|output| output.stdout).unwrap_or_default();
        let epoch = (jiff::Timestamp::now().as_duration().as_secs_f64()) - self.stage.cloud.at();
        let lines = tail(&String::from_utf8_lossy(&journal), epoch);
        self.journal = if lines.is_empty() { instance.console_tail(TAIL) } else { lines };
        if let Err(error) = tokio::fs::write(self.config.scratch.join("journal.json"), journal).await {
            self.stage.cloud.tell(Who::Stage, format!("failed to keep the journal: {error}"));
        }
    }
}
