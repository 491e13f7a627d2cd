//! Slots become datums, datums become calls within `PutMetricData`'s limits, and a bad one costs only itself.

use super::slots::Slot;
use super::{Metrics, Tally};
use crate::aws::Error;
use crate::config::Published;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_smithy_types::DateTime;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// `PutMetricData` takes 1,000 metrics and 1 MB: with the longest names there are (255 characters of a namespace, as many
/// of a group's name) a datum is under 500 bytes, so that the first limit is the narrower one.
const DATUMS: usize = 1000;
/// How often a refused batch is halved to find what it is refused for, at most: enough for one bad datum in a thousand.
const HALVINGS: usize = 12;

/// Whose datums they are.
#[derive(Debug, Default)]
struct Names {
    instance: Option<String>,
    group: Option<String>,
}

impl Metrics {
    /// Sends `slots`; what is left is worth another try.
    pub(super) async fn publish(&self, slots: Vec<Slot>) -> Tally {
        if !self.settings.enabled || slots.is_empty() {
            return Tally::default();
        }
        let names = match self.names(&slots).await {
            Ok(names) => names,
            Err(error) => {
                self.report(&error);
                return Tally { left: slots, ..Tally::default() };
            }
        };
        // When nothing at all was taken last time, the fault is not in one datum.
        let mut halvings = if self.hopeless.load(Ordering::Relaxed) { 0 } else { HALVINGS };
        let per_slot = 2 * self.settings.publish.len().max(1);
        let mut batches: VecDeque<&[Slot]> = slots.chunks((DATUMS / per_slot).max(1)).collect();
        let mut tally = Tally::default();
        while let Some(batch) = batches.pop_front() {
            let data = self.data(batch, &names);
            let count = data.len();
            if count == 0 {
                continue;
            }
            match self.put(data).await {
                Ok(()) => tally.taken += count,
                Err(error) if error.is_invalid() || error.is("RequestEntityTooLarge") => {
                    self.report(&error);
                    if batch.len() > 1 && halvings > 0 {
                        halvings -= 1;
                        let (first, second) = batch.split_at(batch.len() / 2);
                        batches.push_front(second);
                        batches.push_front(first);
                    } else {
                        tally.refused += count;
                    }
                }
                Err(error) => {
                    self.report(&error);
                    batches.push_front(batch);
                    break;
                }
            }
        }
        tally.left = batches.into_iter().flatten().copied().collect();
        self.hopeless.store(tally.refused > 0 && tally.taken == 0, Ordering::Relaxed);
        if tally.refused == 0 && tally.left.is_empty() {
            self.board.error("metrics", None);
        }
        tally
    }

    async fn names(&self, slots: &[Slot]) -> Result<Names, Error> {
        let mut names = Names::default();
        if self.wants("InstanceId") {
            names.instance = Some(self.group.instance_id().await?.to_owned());
        }
        if self.wants("AutoScalingGroupName") && slots.iter().any(|slot| slot.serving) {
            // Without the group's name the instance's datums still go.
            names.group = self.group.name().await.unwrap_or_default();
        }
        Ok(names)
    }

    fn data(&self, slots: &[Slot], names: &Names) -> Vec<MetricDatum> {
        let mut data = Vec::new();
        for slot in slots {
            for kind in &self.settings.publish {
                let mean = slot.means[kind.index()];
                // CloudWatch takes no NaN, and no infinity.
                if !mean.is_finite() {
                    continue;
                }
                let datum = |name, value: &String| self.datum(slot, *kind, mean, name, value);
                data.extend(names.instance.as_ref().map(|id| datum("InstanceId", id)));
                if slot.serving {
                    data.extend(names.group.as_ref().map(|name| datum("AutoScalingGroupName", name)));
                }
            }
        }
        data
    }

    fn datum(&self, slot: &Slot, kind: Published, mean: f64, dimension: &str, value: &str) -> MetricDatum {
        MetricDatum::builder()
            .metric_name(kind.metric())
            .dimensions(Dimension::builder().name(dimension).value(value).build())
            .timestamp(DateTime::from_secs(i64::try_from(slot.unix).unwrap_or_default()))
            .value(mean)
            .unit(StandardUnit::Percent)
            .storage_resolution(self.settings.storage_resolution())
            .build()
    }

    async fn put(&self, data: Vec<MetricDatum>) -> Result<(), Error> {
        self.group
            .aws()
            .cloudwatch()
            .await?
            .put_metric_data()
            .namespace(&self.settings.namespace)
            .set_metric_data(Some(data))
            .send()
            .await
            .map_err(|error| Error::new("PutMetricData", &error))?;
        Ok(())
    }

    fn report(&self, error: &Error) {
        let text = error.to_string();
        self.board.error("metrics", Some(&text));
        let mut causes = self.causes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if causes.tell(error.cause(), Instant::now()) {
            tracing::warn!(reason = text, "metrics not sent");
        }
    }
}
