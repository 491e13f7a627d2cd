//! `PutMetricData`, as the SDK sends it.

use std::time::SystemTime;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use super::*;

#[tokio::test]
async fn datums_arrive_whole_also_when_they_are_compressed() {
    let stage = stage().await;
    let client = client!(aws_sdk_cloudwatch, stage, ACCESS_KEY);
    for count in [1, 400] {
        let datum = MetricDatum::builder()
            .metric_name("CPUUtilization")
            .unit(StandardUnit::Percent)
            .value(12.5)
            .timestamp(SystemTime::now().into())
            .dimensions(Dimension::builder().name("InstanceId").value(ID).build())
            .build();
        let call = client.put_metric_data().namespace("Kiln").set_metric_data(Some(vec![datum; count]));
        call.send().await.unwrap();
        let logged = stage.cloud.record.all().pop().unwrap();
        assert_eq!(logged.service, "monitoring");
        let datums = logged.parameters["MetricData"].as_array().unwrap();
        assert_eq!(datums.len(), count);
        assert_eq!(datums[0]["Dimensions"][0]["Value"], ID);
        assert_eq!(datums[0]["Value"], 12.5);
        assert!(datums[0]["Timestamp"].as_f64().unwrap() > 1.7e9);
    }
}

#[tokio::test]
async fn datums_outside_of_the_limits_are_refused() {
    let stage = stage().await;
    let client = client!(aws_sdk_cloudwatch, stage, ACCESS_KEY);
    let datum = MetricDatum::builder().metric_name("x");
    let old = aws_sdk_cloudwatch::primitives::DateTime::from_secs(1_000_000_000);
    for datum in [
        datum.clone().value(f64::NAN).build(),
        datum.clone().build(),
        datum.clone().value(1.0).timestamp(old).build(),
        datum.clone().set_values(Some(vec![1.0; 151])).build(),
        datum
            .set_dimensions(Some(vec![Dimension::builder().name("n").value("v").build(); 31]))
            .value(1.0)
            .build(),
    ] {
        let error = client.put_metric_data().namespace("Kiln").metric_data(datum).send().await.unwrap_err();
        let error = error.into_service_error();
        assert!(error.is_invalid_parameter_value_exception(), "{error:?}");
    }
}
