//! Which images may go, and why the others stay. Pure.
//!
//! ```text
//! not used ─▶ deprecated now ─ grace ─▶ disabled ─ grace ─▶ deregistered, snapshot and all
//!    └ used, launched lately, one of the last N good, protected, not finished: kept, with the reason
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// What is done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// EC2 no longer offers it; those who know its id go on launching it.
    Deprecate,
    /// It can no longer be launched; that can be taken back.
    Disable,
    /// It goes, with its snapshot.
    Deregister,
}

/// Whether it can be launched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stand {
    Available,
    Disabled,
    /// Pending, failed …
    #[default]
    Other,
}

/// What is known of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) created: Timestamp,
    /// `kiln:state` says that its publication is done.
    pub(crate) published: bool,
    pub(crate) stand: Stand,
    pub(crate) protected: bool,
    /// Since when it is on its way out.
    pub(crate) retired: Option<Timestamp>,
    pub(crate) launched: Option<Timestamp>,
    /// ARNs and names of what uses it.
    pub(crate) used_by: Vec<String>,
}

/// How long and how many.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Good images that stay, the newest first.
    pub keep: u32,
    /// Between two steps of a retirement.
    pub grace: Duration,
}

/// A verdict and its reason for each image of one name and region, in their order.
pub(crate) fn judge(images: &[Facts], terms: Terms, now: Timestamp) -> Vec<(Verdict, String)> {
    let mut good: Vec<usize> = (0..images.len())
        .filter(|index| images[*index].published && images[*index].stand == Stand::Available)
        .collect();
    good.sort_by_key(|index| std::cmp::Reverse(images[*index].created));
    good.truncate(usize::try_from(terms.keep).unwrap_or(usize::MAX));
    let judge = |(index, facts)| one(facts, good.contains(&index), terms, now);
    images.iter().enumerate().map(judge).collect()
}

fn one(facts: &Facts, newest: bool, terms: Terms, now: Timestamp) -> (Verdict, String) {
    let kept = |why: String| (Verdict::Keep, why);
    let grace = SignedDuration::try_from(terms.grace).unwrap_or(SignedDuration::MAX);
    let past = |since: Timestamp, times: i32| {
        since.checked_add(grace.saturating_mul(times)).is_ok_and(|until| until <= now)
    };
    if !facts.used_by.is_empty() {
        return kept(format!("used by {}", facts.used_by.join(", ")));
    }
    if !facts.published {
        return kept("its publication is not finished: see 'kiln gc --orphans'".to_owned());
    }
    if facts.protected {
        return kept("it is protected against deregistration".to_owned());
    }
    if newest {
        return kept(format!("one of the last {} good ones", terms.keep));
    }
    // AWS tells of launches up to a day late, those by other accounts among them.
    let lately = |launched: &Timestamp| !past(*launched, 1);
    if let Some(launched) = facts.launched.filter(lately) {
        return kept(format!("launched at {launched}, by this account or another"));
    }
    match facts.retired {
        None => (Verdict::Deprecate, "nothing uses it".to_owned()),
        Some(since) if facts.stand == Stand::Disabled && past(since, 2) => {
            (Verdict::Deregister, format!("nothing uses it since {since}"))
        }
        Some(since) if facts.stand != Stand::Disabled && past(since, 1) => {
            (Verdict::Disable, format!("nothing uses it since {since}"))
        }
        Some(since) => kept(format!("on its way out since {since}: the next step comes after the grace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(number * 86_400).expect("a day")
    }

    fn good(created: i64) -> Facts {
        Facts { created: day(created), published: true, stand: Stand::Available, ..Facts::default() }
    }

    #[test]
    fn an_image_goes_step_by_step_and_never_one_that_is_used() {
        let terms = Terms { keep: 2, grace: 7 * DAY };
        let retired = |since| Facts { retired: Some(day(since)), ..good(1) };
        let disabled = |since| Facts { stand: Stand::Disabled, ..retired(since) };
        let table = [
            ("the newest", good(99), Verdict::Keep, "last 2 good"),
            ("the one before", good(98), Verdict::Keep, "last 2 good"),
            ("an old one", good(3), Verdict::Deprecate, "nothing uses it"),
            (
                "an old one in use",
                Facts { used_by: vec!["i-1".into()], ..good(2) },
                Verdict::Keep,
                "used by i-1",
            ),
            ("deprecated yesterday", retired(99), Verdict::Keep, "on its way out"),
            ("deprecated a week ago", retired(93), Verdict::Disable, "since"),
            ("disabled, not long enough", disabled(90), Verdict::Keep, "on its way out"),
            ("disabled long enough", disabled(86), Verdict::Deregister, "since"),
            ("launched elsewhere", Facts { launched: Some(day(95)), ..good(2) }, Verdict::Keep, "or another"),
            (
                "launched long ago",
                Facts { launched: Some(day(50)), ..good(2) },
                Verdict::Deprecate,
                "nothing",
            ),
            ("protected", Facts { protected: true, ..good(2) }, Verdict::Keep, "protected"),
            ("under way", Facts { published: false, ..good(100) }, Verdict::Keep, "--orphans"),
            (
                "disabled, and used again",
                Facts { used_by: vec!["lt-1".into()], ..disabled(1) },
                Verdict::Keep,
                "used by lt-1",
            ),
        ];
        let facts: Vec<_> = table.iter().map(|(_, facts, ..)| facts.clone()).collect();
        for ((case, _, wanted, why), (verdict, reason)) in table.iter().zip(judge(&facts, terms, day(100))) {
            assert_eq!(verdict, *wanted, "{case}: {reason}");
            assert!(reason.contains(why), "{case}: {reason}");
        }
    }
}
