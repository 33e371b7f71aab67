//! Checks of a Deployment (`pkg/apis/apps/validation`).

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Report, Spot, pod};
use crate::workspace::names;
use crate::workspace::selector::{matches, text};

/// Checks a Deployment and its pods.
pub fn deployment(object: &Deployment, report: &mut Report<'_>) {
    report.named(&object.metadata, &names::SUBDOMAIN);
    let spot = Spot::root().key("spec");
    let Some(spec) = &object.spec else { return };
    let natural = 0..=i64::MAX;
    report.within(&spot.key("replicas"), spec.replicas.map(Into::into), natural.clone());
    report.within(&spot.key("minReadySeconds"), spec.min_ready_seconds.map(Into::into), natural.clone());
    report.within(&spot.key("revisionHistoryLimit"), spec.revision_history_limit.map(Into::into), natural);
    // The API server's defaults: 600 and 0.
    let (deadline, ready) =
        (spec.progress_deadline_seconds.unwrap_or(600), spec.min_ready_seconds.unwrap_or(0));
    if deadline <= ready {
        report.tell(
            &spot.key("progressDeadlineSeconds"),
            &format!("{deadline} is not more than minReadySeconds ({ready}); raise it"),
        );
    }
    selector(&spot, spec, report);
    if let Some(given) = &spec.strategy {
        strategy(&spot.key("strategy"), given, report);
    }
    let template = spot.key("template");
    if let Some(metadata) = &spec.template.metadata {
        report.metadata(&template.key("metadata"), metadata);
    }
    if let Some(pod) = &spec.template.spec {
        pod::pod(&template.key("spec"), pod, report);
    }
}

fn selector(spot: &Spot, spec: &DeploymentSpec, report: &mut Report<'_>) {
    let labels =
        spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let LabelSelector { match_labels, match_expressions } = &spec.selector;
    let here = spot.key("selector");
    if match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
        && match_expressions.as_ref().is_none_or(Vec::is_empty)
    {
        report.tell(&here, "empty: it would select every pod; give it matchLabels");
        return;
    }
    report.labels(&here.key("matchLabels"), match_labels.as_ref());
    for (index, requirement) in match_expressions.iter().flatten().enumerate() {
        let here = here.key("matchExpressions").index(index);
        report.one_of(
            &here.key("operator"),
            Some(&requirement.operator),
            &["In", "NotIn", "Exists", "DoesNotExist"],
        );
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        match requirement.operator.as_str() {
            "In" | "NotIn" if values == 0 => report.tell(&here, "needs values; add some"),
            "Exists" | "DoesNotExist" if values > 0 => report.tell(&here, "takes no values; remove them"),
            _ => {}
        }
    }
    if !matches(&spec.selector, &labels) {
        report.tell(
            &here,
            &format!(
                "does not match the labels of its own template ({}); give spec.template.metadata.labels what it selects",
                text(&labels)
            ),
        );
    }
}

fn strategy(spot: &Spot, strategy: &DeploymentStrategy, report: &mut Report<'_>) {
    report.one_of(&spot.key("type"), strategy.type_.as_deref(), &["RollingUpdate", "Recreate"]);
    let Some(rolling) = &strategy.rolling_update else { return };
    let here = spot.key("rollingUpdate");
    if strategy.type_.as_deref() == Some("Recreate") {
        report.tell(&here, "not with type Recreate; remove one of both");
    }
    let mut zero = 0;
    for (name, value) in [("maxSurge", &rolling.max_surge), ("maxUnavailable", &rolling.max_unavailable)] {
        let number = match value {
            None => continue,
            Some(IntOrString::Int(number)) => i64::from(*number),
            Some(IntOrString::String(given)) => {
                if let Some(percent) = names::percentage(given) {
                    percent.into()
                } else {
                    report.tell(
                        &here.key(name),
                        &format!("\"{given}\" is neither a number nor a percentage; write such as 1 or 25%"),
                    );
                    continue;
                }
            }
        };
        report.within(&here.key(name), Some(number), 0..=i64::MAX);
        zero += u8::from(number == 0);
    }
    if zero == 2 {
        report.tell(&here, "maxSurge and maxUnavailable are both 0: no pod could be replaced; set one to 1");
    }
}
