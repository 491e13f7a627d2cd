//! Waits until a snapshot or an image is ready, by looking, within a bound.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{ImageState, SnapshotState};

use crate::call::{CallError, Kind};
use crate::error::Error;
use crate::progress::{Progress, Watch};

/// Bounds of the waits on AWS: each protects the pipeline from a resource that never gets there.
#[derive(Debug, Clone)]
pub struct Waits {
    /// For a new snapshot to be known everywhere: EBS itself names two minutes.
    pub visible: Duration,
    /// For a completed upload to become a completed snapshot.
    pub snapshot: Duration,
    /// For a registered image to become available.
    pub image: Duration,
    /// For a builder instance to end, from the order to do so.
    pub instance: Duration,
    /// For a copy in another region to become available.
    pub copy: Duration,
    /// For SSM to store an image's id, which it checks after its answer.
    pub parameter: Duration,
    /// Between two looks at first; it grows to eight times as much.
    pub poll: Duration,
    /// Looks in a row that must say "ready": describe calls are eventually consistent and can go back.
    pub in_a_row: u32,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            visible: Duration::from_mins(2),
            snapshot: Duration::from_hours(1),
            image: Duration::from_mins(30),
            instance: Duration::from_mins(15),
            copy: Duration::from_hours(2),
            parameter: Duration::from_mins(2),
            poll: Duration::from_secs(2),
            in_a_row: 3,
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It can be used.
    Ready,
    /// AWS is at work on it.
    Pending { state: String, percent: Option<String> },
    /// It will never be ready.
    Ended { state: String, reason: String },
}

impl Seen {
    /// A snapshot's state; `recovering` and `recoverable` belong to a recycle bin.
    pub(crate) fn snapshot(
        state: Option<&SnapshotState>,
        percent: Option<&str>,
        reason: Option<&str>,
    ) -> Self {
        let name = state.map_or("unknown", SnapshotState::as_str).to_owned();
        match state {
            Some(SnapshotState::Completed) => Self::Ready,
            Some(SnapshotState::Error | SnapshotState::Recoverable) => Self::ended(name, reason),
            _ => Self::Pending { state: name, percent: percent.map(str::to_owned) },
        }
    }

    /// An image's state. The SDK's own waiter polls on through all but one of the ends.
    pub(crate) fn image(state: Option<&ImageState>, reason: Option<&str>) -> Self {
        let name = state.map_or("unknown", ImageState::as_str).to_owned();
        match state {
            Some(ImageState::Available) => Self::Ready,
            Some(
                ImageState::Failed
                | ImageState::Error
                | ImageState::Invalid
                | ImageState::Deregistered
                | ImageState::Disabled,
            ) => Self::ended(name, reason),
            _ => Self::Pending { state: name, percent: None },
        }
    }

    fn ended(state: String, reason: Option<&str>) -> Self {
        Self::Ended { state, reason: reason.unwrap_or("AWS gives no reason").to_owned() }
    }
}

/// Looks until `look` was ready `in_a_row` times. Something just created may be unknown for `waits.visible`.
pub(crate) async fn until_ready(
    what: &'static str,
    id: &str,
    bound: Duration,
    waits: &Waits,
    watch: Watch<'_>,
    look: impl AsyncFn() -> Result<Seen, CallError>,
) -> Result<(), Error> {
    let began = Instant::now();
    let mut pause = waits.poll;
    let mut in_a_row = 0;
    loop {
        let seen = match look().await {
            Err(error) if error.kind == Kind::NotFound && began.elapsed() < waits.visible => {
                Seen::Pending { state: "not visible yet".to_owned(), percent: None }
            }
            answer => answer?,
        };
        let (state, percent) = match seen {
            Seen::Ready => {
                in_a_row += 1;
                if in_a_row >= waits.in_a_row {
                    return Ok(());
                }
                tokio::time::sleep(waits.poll.min(Duration::from_secs(1))).await;
                continue;
            }
            Seen::Ended { state, reason } => {
                return Err(Error::Ended { what, id: id.to_owned(), state, reason });
            }
            Seen::Pending { state, percent } => (state, percent),
        };
        in_a_row = 0;
        if began.elapsed() >= bound {
            let state = percent.map_or_else(|| state.clone(), |percent| format!("{state}, {percent}"));
            return Err(Error::TimedOut { what, id: id.to_owned(), state, waited: bound });
        }
        watch(Progress::Waiting { what, id: id.to_owned(), state, percent });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(waits.poll * 8);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "one of the answers that play() takes")]
    fn pending() -> Result<Seen, CallError> {
        Ok(Seen::Pending { state: "pending".to_owned(), percent: Some("42%".to_owned()) })
    }

    fn unknown() -> Result<Seen, CallError> {
        let (action, resource) = ("ec2:DescribeImages", "ami-1".to_owned());
        Err(CallError { kind: Kind::NotFound, action, resource, code: None, message: "no".to_owned() })
    }

    /// Plays answers in order, the last one for ever.
    async fn play(answers: Vec<fn() -> Result<Seen, CallError>>) -> (Result<(), Error>, usize) {
        let looks = RefCell::new(0);
        let look = async || {
            let mut looks = looks.borrow_mut();
            let answer = answers[(*looks).min(answers.len() - 1)];
            *looks += 1;
            answer()
        };
        let waits =
            Waits { poll: Duration::from_millis(1), visible: Duration::from_millis(50), ..Waits::default() };
        let ended = until_ready("image", "ami-1", Duration::from_millis(100), &waits, &|_| (), look).await;
        (ended, looks.take())
    }

    #[tokio::test]
    async fn ready_counts_only_three_times_in_a_row() {
        let ready = || Ok(Seen::Ready);
        let (ended, looks) = play(vec![pending, ready, ready, pending, ready]).await;
        assert!(ended.is_ok());
        assert_eq!(looks, 7);
    }

    #[tokio::test]
    async fn an_id_that_is_not_visible_yet_is_waited_for() {
        let (ended, _) = play(vec![unknown, unknown, || Ok(Seen::Ready)]).await;
        assert!(ended.is_ok());
        let (ended, _) = play(vec![unknown]).await;
        assert!(matches!(ended, Err(Error::Call(CallError { kind: Kind::NotFound, .. }))));
    }

    #[tokio::test]
    async fn a_wait_that_runs_out_names_the_state_and_the_percentage() {
        let (ended, _) = play(vec![pending]).await;
        assert!(ended.expect_err("it never ends").to_string().contains("still 'pending, 42%'"));
    }

    #[test]
    fn every_end_is_an_end() {
        use ImageState as I;
        for state in [I::Failed, I::Error, I::Invalid, I::Deregistered, I::Disabled] {
            let seen = Seen::image(Some(&state), Some("because"));
            assert_eq!(seen, Seen::Ended { state: state.as_str().to_owned(), reason: "because".to_owned() });
        }
        for state in [I::Pending, I::Transient] {
            assert!(matches!(Seen::image(Some(&state), None), Seen::Pending { .. }));
        }
        assert!(matches!(Seen::snapshot(Some(&SnapshotState::Error), None, None), Seen::Ended { .. }));
        assert_eq!(Seen::snapshot(Some(&SnapshotState::Completed), Some("100%"), None), Seen::Ready);
    }
}
