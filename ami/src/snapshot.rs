//! An EBS snapshot through the direct APIs: opened once for each token, sealed once for each content.

use aws_sdk_ebs::error::SdkError;
use aws_sdk_ebs::operation::complete_snapshot::CompleteSnapshotError;
use aws_sdk_ebs::operation::start_snapshot::StartSnapshotOutput;
use aws_sdk_ebs::types::{
    ChecksumAggregationMethod, ChecksumAlgorithm, SseType, Tag, ValidationExceptionReason,
};

use crate::call::{CallError, Kind, call};
use crate::disk::BLOCK_SIZE;
use crate::error::Error;
use crate::thing::SnapshotAsk;
use crate::upload::Sent;

/// Minutes without a write after which EBS gives a snapshot up. Its default of 60 is more than a stalled client
/// needs, and less would cut off one that sleeps through a change of networks.
const IDLE_MINUTES: i32 = 60;

/// A snapshot that is open for writing.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// Its id.
    pub(crate) snapshot_id: String,
    /// True if a block that is never sent reads back as noise.
    pub(crate) encrypted: bool,
}

/// Opens a snapshot. With the same token and arguments it is opened once, however often it is asked for: so a
/// lost reply makes no second one, and what a killed process asked for is found again.
pub(crate) async fn open(
    client: &aws_sdk_ebs::Client,
    ask: &SnapshotAsk,
    token: &str,
) -> Result<Started, Error> {
    let name = ask.tags.get("Name").map_or("", String::as_str);
    let tags = ask.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    let key = ask.kms_key.as_deref();
    let started = client
        .start_snapshot()
        .volume_size(ask.volume_gib.into())
        .description(&ask.description)
        .set_tags(Some(tags.collect()))
        .timeout(IDLE_MINUTES)
        .set_parent_snapshot_id(ask.parent.clone())
        // A parent decides about encryption, and EBS refuses to be told both.
        .set_encrypted((key.is_some() && ask.parent.is_none()).then_some(true))
        .set_kms_key_arn(key.filter(|key| !key.is_empty() && ask.parent.is_none()).map(str::to_owned))
        .client_token(token)
        .send()
        .await
        .map_err(|error| call("ebs:StartSnapshot", name, &error))?;
    let Some(id) = started.snapshot_id() else {
        return Err(odd_answer("ebs:StartSnapshot", name, "it names no snapshot"));
    };
    if started.block_size().is_some_and(|size| usize::try_from(size) != Ok(BLOCK_SIZE)) {
        let why = format!("block size {:?}, not {BLOCK_SIZE}", started.block_size());
        return Err(odd_answer("ebs:StartSnapshot", id, &why));
    }
    if started.parent_snapshot_id() != ask.parent.as_deref() {
        let why = format!("parent {:?}, not {:?}", started.parent_snapshot_id(), ask.parent);
        return Err(odd_answer("ebs:StartSnapshot", id, &why));
    }
    Ok(Started { snapshot_id: id.to_owned(), encrypted: encrypted(&started) })
}

/// Seals the snapshot: EBS compares the count and the checksum with what arrived. A snapshot that is not pending
/// any more was sealed by a call whose reply was lost: count and checksum are those of the journal.
pub(crate) async fn seal(client: &aws_sdk_ebs::Client, id: &str, sent: &Sent) -> Result<(), Error> {
    let asked = client
        .complete_snapshot()
        .snapshot_id(id)
        .changed_blocks_count(i32::try_from(sent.blocks).expect("64 TiB are 2^27 blocks"))
        .checksum(&sent.checksum)
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
        .send()
        .await;
    match asked {
        Ok(_) => Ok(()),
        Err(error) if not_pending(&error) => Ok(()),
        Err(error) => Err(call("ebs:CompleteSnapshot", id, &error).into()),
    }
}

/// Whether the snapshot was sealed before. One that ended in error answers the same: the wait for it tells them apart.
fn not_pending<R>(error: &SdkError<CompleteSnapshotError, R>) -> bool {
    match error.as_service_error() {
        Some(CompleteSnapshotError::ValidationException(invalid)) => {
            matches!(invalid.reason(), Some(ValidationExceptionReason::InvalidSnapshotId))
        }
        _ => false,
    }
}

/// An account that encrypts by default encrypts a snapshot that never asked for it, so AWS's answer counts, not the
/// request.
fn encrypted(started: &StartSnapshotOutput) -> bool {
    started.kms_key_arn().is_some() || !matches!(started.sse_type(), None | Some(SseType::None))
}

fn odd_answer(action: &'static str, resource: &str, why: &str) -> Error {
    let message = format!("unexpected answer: {why}");
    CallError { kind: Kind::Failed, action, resource: resource.to_owned(), code: None, message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_says_about_encryption_counts() {
        let answer = StartSnapshotOutput::builder;
        let table = [
            ("plain", answer().build(), false),
            ("plain, named", answer().sse_type(SseType::None).build(), false),
            ("with a key", answer().kms_key_arn("arn:aws:kms:…").build(), true),
            ("by default", answer().sse_type(SseType::SseKms).build(), true),
        ];
        for (case, started, expected) in table {
            assert_eq!(encrypted(&started), expected, "{case}");
        }
    }
}
