//! Answers that are cut, garbled or foreign: no row of ours is taken for gone because an answer does not show it.

use super::*;
use crate::fake::{self, in_memory, known_group, result};
use proptest::prelude::*;

const WEB: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1";

/// Another's row first, then ours.
fn whole() -> String {
    let row = |id: &str| {
        format!(
            "<member><Target><Id>{id}</Id><Port>80</Port></Target><TargetHealth><State>healthy</State></TargetHealth></member>"
        )
    };
    let list = row("i-0def") + &row("i-0abc");
    result("DescribeTargetHealth", &format!("<TargetHealthDescriptions>{list}</TargetHealthDescriptions>"))
}

/// Whether a drain would go on without telling anybody, after this answer.
fn is_taken_for_gone(status: u16, body: Vec<u8>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a folder");
    runtime.block_on(async {
        let board = fake::board();
        let config = in_memory(move |_| std::future::ready(Some((status, body.clone()))));
        let targets = Targets::new(known_group(config, &board), None, board, root.path());
        let rows = targets.rows(WEB, &["i-0abc".to_owned()]).await;
        rows.is_ok_and(|rows| rows.whole && rows.staying().is_empty())
    })
}

#[test]
fn an_answer_that_is_cut_short_shows_our_row_or_nothing() {
    let whole = whole().into_bytes();
    for cut in 0..=whole.len() {
        let shown = String::from_utf8_lossy(&whole[..cut]).into_owned();
        assert!(!is_taken_for_gone(200, whole[..cut].to_vec()), "after {cut} bytes: {shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_failure_and_no_noise_lets_a_target_go(
        status in prop_oneof![Just(200_u16), Just(204), Just(301), Just(400), Just(429), Just(500), Just(503)],
        body in prop_oneof![
            "\\PC{0,200}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..300),
            Just(vec![b'x'; 1 << 20]),
            Just(result("DescribeTargetHealth", "").into_bytes()),
            Just(result("DescribeTargetHealth", "<TargetHealthDescriptions><member/></TargetHealthDescriptions>").into_bytes()),
            Just(result("DescribeTargetHealth", "<TargetHealthDescriptions><member><Target><Port>80</Port></Target></member></TargetHealthDescriptions>").into_bytes()),
            Just(result("RegisterTargets", "").into_bytes()),
            Just("<TargetHealthDescriptions/>".as_bytes().to_vec()),
        ],
    ) {
        prop_assert!(!is_taken_for_gone(status, body));
    }
}
