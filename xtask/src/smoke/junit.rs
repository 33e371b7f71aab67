//! The report as `JUnit` XML: one suite a mode, one case a check.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Outcome, Report};

/// The XML. Errors when it cannot be serialised.
pub fn xml(report: &Report) -> anyhow::Result<String> {
    let mut junit = quick_junit::Report::new("smoke");
    for mode in &report.modes {
        let mut suite = TestSuite::new(format!("smoke {} {}", report.runtime, mode.mode));
        suite.set_time(Duration::from_millis(mode.ms));
        for check in &mode.checks {
            let status = match check.outcome {
                Outcome::Passed => TestCaseStatus::success(),
                Outcome::Skipped => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(check.detail.as_str());
                    status
                }
                Outcome::Failed => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(check.detail.as_str());
                    status.set_description(check.evidence.join("\n"));
                    status
                }
            };
            let mut case = TestCase::new(check.name, status);
            case.set_time(Duration::from_millis(check.ms));
            suite.add_test_case(case);
        }
        junit.add_test_suite(suite);
    }
    Ok(junit.to_string()?)
}

#[cfg(test)]
mod tests {
    use super::xml;
    use crate::smoke::{Check, ModeReport, Report};

    #[test]
    fn a_failed_check_is_a_failure_with_its_evidence() {
        let checks = vec![
            Check::of("spread", "two of three", vec!["b-3: <none>".into()]),
            Check::skipped("exec", "not asked"),
        ];
        let mode = ModeReport { mode: "--grpc".into(), checks, ..ModeReport::default() };
        let text = xml(&Report { runtime: "local".into(), modes: vec![mode], passed: false }).unwrap();
        insta::assert_snapshot!(text, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="smoke" tests="2" failures="1" errors="0">
            <testsuite name="smoke local --grpc" tests="2" disabled="1" errors="0" failures="1" time="0.000">
                <testcase name="spread" time="0.000">
                    <failure message="two of three">b-3: &lt;none&gt;</failure>
                </testcase>
                <testcase name="exec" time="0.000">
                    <skipped message="not asked"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }
}
