//! One line in the journal per cause of failure, not one per minute.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A cause that lasts, or comes and goes, is told again after this long.
const AGAIN: Duration = Duration::from_hours(1);
/// More causes than services have; past it the oldest may be told twice.
const CAUSES: usize = 32;

/// When each cause was last told.
#[derive(Debug, Default)]
pub(super) struct Causes(BTreeMap<String, Instant>);

impl Causes {
    /// Whether `cause` is to be told at `now`.
    pub(super) fn tell(&mut self, cause: &str, now: Instant) -> bool {
        self.0.retain(|_, at| now.duration_since(*at) < AGAIN);
        if self.0.contains_key(cause) || self.0.len() >= CAUSES {
            return false;
        }
        self.0.insert(cause.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_an_hour_however_it_comes_and_goes() {
        let start = Instant::now();
        let mut causes = Causes::default();
        let told: Vec<(u64, &str)> = (0..150)
            .map(|minute| (minute, if minute % 3 == 0 { "Throttling" } else { "silence" }))
            .filter(|(minute, cause)| causes.tell(cause, start + Duration::from_mins(*minute)))
            .collect();
        assert_eq!(
            told,
            [
                (0, "Throttling"),
                (1, "silence"),
                (60, "Throttling"),
                (61, "silence"),
                (120, "Throttling"),
                (121, "silence")
            ]
        );
    }

    #[test]
    fn a_service_with_ever_new_words_does_not_fill_the_journal() {
        let start = Instant::now();
        let mut causes = Causes::default();
        let told = (0..1000).filter(|number| causes.tell(&format!("Code{number}"), start)).count();
        assert_eq!(told, CAUSES);
    }
}
