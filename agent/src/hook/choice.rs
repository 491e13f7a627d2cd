//! Which of a group's hooks is ours to answer. Pure.
//!
//! ```text
//!  configured by name ─▶ that one
//!  "auto"             ─▶ the only one that notifies nobody: its notice is the target lifecycle state, which we read.
//!                        One with a queue or a topic is answered by whoever listens there.
//! ```

use crate::config::Selector;
use crate::group::HookInfo;
use crate::lifecycle::Hook;

/// What a group's hooks on one transition mean to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one is ours.
    Ours(HookInfo),
    /// The transition has no hook.
    None,
    /// All of them notify somebody else.
    Others(Vec<String>),
    /// Several could be ours.
    Ambiguous(Vec<String>),
    /// The configured one is not among these.
    Missing(Vec<String>),
}

impl Choice {
    /// Judges the hooks that a group has.
    pub fn of(hooks: &[HookInfo], hook: Hook, configured: &Selector) -> Self {
        let all = || hooks.iter().filter(move |info| info.hook == hook);
        let names = |wanted: &dyn Fn(&&HookInfo) -> bool| -> Vec<String> {
            all().filter(wanted).map(|info| info.name.clone()).collect()
        };
        if all().next().is_none() {
            return Self::None;
        }
        if let Selector::Named(name) = configured {
            let found = all().find(|info| info.name == *name);
            return found.map_or_else(|| Self::Missing(names(&|_| true)), |info| Self::Ours(info.clone()));
        }
        let mut open = all().filter(|info| info.notifies.is_none());
        match (open.next(), open.next()) {
            (Some(only), None) => Self::Ours(only.clone()),
            (Some(_), Some(_)) => Self::Ambiguous(names(&|info| info.notifies.is_none())),
            (None, _) => Self::Others(names(&|_| true)),
        }
    }

    /// What a person should know of it, and do; `None` where all is well.
    pub fn complaint(&self, hook: Hook, configured: &Selector) -> Option<String> {
        let word = hook.name();
        let key = match hook {
            Hook::Launch => "lifecycle.launch_hook",
            Hook::Terminate => "lifecycle.terminate_hook",
        };
        match self {
            Self::Ours(_) | Self::None => None,
            Self::Ambiguous(names) => {
                Some(format!("several {word} hooks ({}): set {key} to yours", names.join(", ")))
            }
            Self::Others(names) => Some(format!(
                "every {word} hook ({}) notifies somebody else: set {key} to it if the agent is to answer it",
                names.join(", ")
            )),
            Self::Missing(names) => {
                let wanted = match configured {
                    Selector::Named(name) => name,
                    Selector::Auto => "auto",
                };
                Some(format!("{key} '{wanted}' is not among the group's {word} hooks ({})", names.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_ours_by_name_or_as_the_only_one_that_notifies_nobody() {
        let ours = |name: &str| Some(name.to_owned());
        // Each hook as `name` or `name>who is notified`; the configured name; the chosen one; the complaint.
        let cases: [(&[&str], &str, Option<String>, &str); 10] = [
            (&[], "auto", None, ""),
            (&[], "mine", None, ""),
            (&["only"], "auto", ours("only"), ""),
            (&["mine", "theirs>sqs"], "auto", ours("mine"), ""),
            (&["theirs>sqs"], "auto", None, "notifies somebody else: set lifecycle.launch_hook"),
            (&["theirs>sqs"], "theirs", ours("theirs"), ""),
            (&["a", "b"], "auto", None, "several launch hooks (a, b): set lifecycle.launch_hook"),
            (&["a", "b", "c>sns"], "auto", None, "several launch hooks (a, b): set"),
            (&["a", "b"], "b", ours("b"), ""),
            (
                &["a", "b"],
                "c",
                None,
                "lifecycle.launch_hook 'c' is not among the group's launch hooks (a, b)",
            ),
        ];
        for (hooks, configured, expected, said) in cases {
            let mut infos: Vec<_> = hooks.iter().map(|text| info(text, Hook::Launch)).collect();
            // The other transition's hooks change nothing.
            infos.extend([info("x", Hook::Terminate), info("y", Hook::Terminate)]);
            let selector = match configured {
                "auto" => Selector::Auto,
                name => Selector::Named(name.to_owned()),
            };
            let choice = Choice::of(&infos, Hook::Launch, &selector);
            let chosen = match &choice {
                Choice::Ours(info) => Some(info.name.clone()),
                _ => None,
            };
            assert_eq!(chosen, expected, "{hooks:?} with {configured}");
            let complaint = choice.complaint(Hook::Launch, &selector).unwrap_or_default();
            assert!(complaint.contains(said) && complaint.is_empty() == said.is_empty(), "{complaint}");
        }
    }

    fn info(text: &str, hook: Hook) -> HookInfo {
        let (name, notifies) = text.split_once('>').map_or((text, None), |(name, who)| (name, Some(who)));
        HookInfo { notifies: notifies.map(str::to_owned), ..HookInfo::guessed(name, hook) }
    }
}
