//! The group's hooks as last read: one call serves the launch, the drain's heartbeats and the completion.

use super::{Choice, Hooks};
use crate::aws::Error;
use crate::config::Selector;
use crate::group::HookInfo;
use crate::lifecycle::Hook;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// What was read is used for so long: a whole launch or a whole drain, but not a drain months after the launch.
const FRESH: Duration = Duration::from_hours(1);

impl Hooks {
    /// Which hook of `group` is ours; read, or remembered.
    pub(super) async fn choose(&self, hook: Hook, group: &str) -> Result<Choice, Error> {
        let configured = self.configured(hook);
        let hooks = match self.known(group).await {
            // The name is known without asking; only the timeouts are guessed.
            Err(error) if error.is_denied() => match configured {
                Selector::Named(name) => return Ok(Choice::Ours(HookInfo::guessed(name, hook))),
                Selector::Auto => return Err(error),
            },
            answer => answer?,
        };
        Ok(Choice::of(&hooks, hook, configured))
    }

    /// What was read is not so any more.
    pub(super) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the transition has other hooks, as far as was read.
    pub(super) fn has_others(&self, ours: &HookInfo) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let other = |info: &HookInfo| info.hook == ours.hook && info.name != ours.name;
        kept.as_ref().is_some_and(|(_, hooks)| hooks.iter().any(other))
    }

    pub(super) fn configured(&self, hook: Hook) -> &Selector {
        match hook {
            Hook::Launch => &self.launch,
            Hook::Terminate => &self.terminate,
        }
    }

    async fn known(&self, group: &str) -> Result<Vec<HookInfo>, Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, hooks)) = kept.filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(hooks);
        }
        let hooks = self.group.hooks(group).await?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), hooks.clone()));
        // Said at the first read, at the launch, for both ways: at the termination it would be too late to act on.
        for hook in [Hook::Launch, Hook::Terminate] {
            let configured = self.configured(hook);
            let complaint = Choice::of(&hooks, hook, configured).complaint(hook, configured);
            let part = format!("{} hook", hook.name());
            if self.board.error(&part, complaint.as_deref()) && complaint.is_some() {
                tracing::error!(hook = hook.name(), reason = complaint, "hook is not answered");
            }
        }
        Ok(hooks)
    }
}
