//! Every call of AWS, counted and told in one place: an interceptor on each client.

use crate::board::{Board, CallEnd};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use std::time::Instant;

/// Sees each call from its beginning to its end, retries included.
#[derive(Debug, Clone)]
pub(super) struct Witness(pub(super) Board);

#[derive(Debug, Clone, Copy)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let call = bag.load::<Metadata>().map_or("unknown", Metadata::name);
        let status = context.response().map(|response| response.status().as_u16());
        let ended = ended(matches!(context.output_or_error(), Some(Ok(_))), status);
        let elapsed = bag.load::<Began>().map(|began| began.0.elapsed()).unwrap_or_default();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let told = self.0.called(call, ended, !is_steady(call), || told(call, ended, status, elapsed_ms));
        let result = ended.name();
        if told {
            tracing::info!(call, result, status, elapsed_ms, "AWS called");
        } else {
            tracing::debug!(call, result, status, elapsed_ms, "AWS called");
        }
        Ok(())
    }
}

/// A 2xx that cannot be read is no success, and nobody's refusal either.
fn ended(ok: bool, status: Option<u16>) -> CallEnd {
    match status {
        _ if ok => CallEnd::Ok,
        Some(400..=499) => CallEnd::Refused,
        Some(_) => CallEnd::Failed,
        None => CallEnd::Silent,
    }
}

/// Calls that change nothing and come again and again: the timeline has room for the first one, and for those that end
/// otherwise than the one before.
fn is_steady(call: &str) -> bool {
    ["Describe", "Get", "List", "BatchGet", "PutMetricData", "RecordLifecycleActionHeartbeat"]
        .iter()
        .any(|beginning| call.starts_with(beginning))
}

fn told(call: &str, ended: CallEnd, status: Option<u16>, elapsed_ms: u64) -> String {
    match (ended, status) {
        (CallEnd::Ok, _) => format!("{call} ok in {elapsed_ms} ms"),
        (_, Some(status)) => format!("{call} {} with {status} in {elapsed_ms} ms", ended.name()),
        (_, None) => format!("{call} without an answer in {elapsed_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Aws, SSM};
    use crate::board::{Board, CallEnd, CallRow};
    use crate::fake::{self, Fake, action, refusal, result};
    use crate::imds::Imds;
    use serde::de::IgnoredAny;
    use std::sync::Arc;

    #[tokio::test]
    async fn calls_of_every_kind_of_client_are_counted_by_operation_and_end() {
        let fake = Fake::start(|asked, number| match (action(&asked.body), number) {
            ("DescribeLifecycleHooks", 0..=1) => (200, result("DescribeLifecycleHooks", "")),
            ("DescribeLifecycleHooks", _) => (403, refusal("AccessDenied")),
            ("CompleteLifecycleAction", _) => (200, result("CompleteLifecycleAction", "")),
            _ => (503, String::new()),
        })
        .await;
        let board = fake::board();
        let aws = aws(&fake.url, &board);
        let autoscaling = aws.autoscaling().await.expect("a region is given");
        for _ in 0..4 {
            let _ = autoscaling.describe_lifecycle_hooks().auto_scaling_group_name("web").send().await;
        }
        for _ in 0..2 {
            let _ = autoscaling.complete_lifecycle_action().auto_scaling_group_name("web").send().await;
        }
        let _ = aws.json::<_, IgnoredAny>(&SSM, "GetParameters", &()).await;
        let status = board.snapshot();
        let row = |name: &str| status.calls.get(name).copied().unwrap_or_default();
        let last = |ended| CallRow { last: Some(ended), ..CallRow::default() };
        assert_eq!(row("DescribeLifecycleHooks"), CallRow { ok: 2, refused: 2, ..last(CallEnd::Refused) });
        assert_eq!(row("CompleteLifecycleAction"), CallRow { ok: 2, ..last(CallEnd::Ok) });
        assert_eq!(row("GetParameters"), CallRow { failed: 1, ..last(CallEnd::Failed) });
        // A read is told when it ends otherwise than before, a change each time.
        let told: Vec<_> =
            status.timeline.iter().map(|entry| entry.what.split(" in ").next().unwrap_or_default()).collect();
        assert_eq!(
            told,
            [
                "DescribeLifecycleHooks ok",
                "DescribeLifecycleHooks refused with 403",
                "CompleteLifecycleAction ok",
                "CompleteLifecycleAction ok",
                "GetParameters failed with 503",
            ]
        );
    }

    #[tokio::test]
    async fn a_call_that_nobody_answers_is_counted_too() {
        let fake = Fake::start(|_, _| (200, "")).await;
        let board = fake::board();
        let aws = aws("http://127.0.0.1:1", &board);
        let _ = aws.elbv2().await.expect("a region is given").describe_target_groups().send().await;
        assert_eq!(board.snapshot().calls["DescribeTargetGroups"].silent, 1);
        assert!(fake.asked().is_empty());
    }

    fn aws(url: &str, board: &Board) -> Aws {
        let imds = Arc::new(Imds::new("http://127.0.0.1:1").expect("a valid address"));
        Aws::with_config(imds, fake::sdk(url)).watched_by(board.clone())
    }
}
