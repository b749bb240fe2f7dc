//! `induct deprovision` at a terminal: the plan, the question, and the bar.

use super::{GROUP, names, register_all};
use crate::harness::{Api, Home};

const N_DEVICES: usize = 4;
/// Slow enough that it is not over when the bar is drawn first, after a second.
const SLOW: &[(&str, &str)] =
    &[("INDUCT_DEPROVISION__DEVICES_PER_SECOND", "1"), ("INDUCT_DEPROVISION__MAX_AT_ONCE", "1")];
const BAR: &str = " of 4";

fn n_banned(home: &Home) -> usize {
    home.run(&["ban", "list"]).json().as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn whoever_sits_at_a_terminal_sees_the_plan_is_asked_and_decides() {
    let home = Home::new();
    let server = home.start_with(SLOW);
    Api::service(&home, &server).enroll_group(GROUP).await;
    register_all(&server, &names(N_DEVICES)).await;
    let check = |typed: &str, more: &[&str], is_applied: bool| {
        let words = ["deprovision", "--where", "group=line-4", "--intent", "retire"];
        let finished = home.run_at_terminal(&[&words[..], more].concat(), typed);
        assert_eq!(finished.code, if is_applied { 0 } else { 2 }, "{typed:?}: {finished:?}");
        let shown = finished.stdout;
        let plan = shown.find("retire 4 devices.").expect("the plan");
        let bans = shown.find("bans           4 are set").expect("what it touches");
        let question = shown.find("Apply this plan? [y/N] ").expect("the question");
        assert!(plan < bans && bans < question, "{shown}");
        let refusal = "Nothing was done. `induct deprovision --plan ";
        assert_eq!(shown.contains(refusal), !is_applied, "{typed:?}: {shown}");
        assert_eq!(shown.contains(BAR), is_applied, "{typed:?}: {shown}");
        assert_eq!(n_banned(&home), if is_applied { N_DEVICES } else { 0 }, "{typed:?}");
    };
    check("n\n", &[], false);
    check("\n", &[], false);
    check("", &[], false);
    check("n\n", &["--only-show-errors"], false);
    check("y\n", &[], true);
}
