//! Pure: what the API server says of Deployments and their pods -> how far they are, and what keeps them from it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::plan::lookup::name;
use crate::report::event::PodState;
use crate::workspace::selector::contains;

/// How far a Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub deployment: String,
    pub desired: u32,
    pub updated: u32,
    pub ready: u32,
    /// All pods are of the newest template and ready, and none of an older one is left.
    pub done: bool,
    /// What is certain to keep it from getting ready.
    pub stuck: Option<Stuck>,
}

/// Why something will not get ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// An image cannot be had: the image and the reason.
    Image { image: String, reason: String },
    /// A container ends again and again: the pod, the container, how it ended.
    Crashes { pod: String, container: String, ended: String },
    /// The scheduler finds no node.
    Unschedulable { pod: String, reason: String },
    /// The API server refuses its pods, by a quota or a webhook.
    Refused { reason: String },
    /// A container cannot be made as its pod says.
    Container { pod: String, reason: String },
}

/// The pods of a Deployment, by its selector.
pub fn pods_of<'a>(deployment: &'a Deployment, pods: &'a [Pod]) -> impl Iterator<Item = &'a Pod> {
    let selector = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
    pods.iter().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        selector.zip(labels).is_some_and(|(selector, labels)| contains(labels, selector))
    })
}

/// How far a Deployment is, as of these pods.
/// Source: Kubernetes' documentation, "Deployment status", and `kubectl rollout status`, which asks for the same.
pub fn progress(deployment: &Deployment, pods: &[Pod]) -> Progress {
    let count = |count: Option<i32>| count.map_or(0, |count| u32::try_from(count).unwrap_or(0));
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).map_or(1, |n| count(Some(n)));
    let status = deployment.status.clone().unwrap_or_default();
    let seen = status.observed_generation >= deployment.metadata.generation;
    let (updated, all) = (count(status.updated_replicas), count(status.replicas));
    let (ready, available) = (count(status.ready_replicas), count(status.available_replicas));
    let done = seen && updated >= desired && all == updated && available >= desired;
    let refused = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "ReplicaFailure" && condition.status == "True" && condition.message.is_some()
    });
    let refused =
        refused.map(|condition| Stuck::Refused { reason: condition.message.clone().unwrap_or_default() });
    // Pods of an older template may be in any state: they are on their way out.
    let mut newest = pods_of(deployment, pods).filter(|pod| is_of(deployment, pod));
    let stuck = newest.find_map(stuck).or(refused);
    Progress {
        deployment: name(deployment).to_owned(),
        desired,
        updated: if seen { updated } else { 0 },
        ready,
        done,
        stuck: stuck.filter(|_| seen && !done),
    }
}

/// Whether a pod was made from a Deployment's present template: it has the images that the template names, whatever an
/// injector added.
fn is_of(deployment: &Deployment, pod: &Pod) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let (Some(template), Some(spec)) = (template, pod.spec.as_ref()) else { return false };
    template
        .containers
        .iter()
        .all(|wanted| spec.containers.iter().any(|had| had.name == wanted.name && had.image == wanted.image))
}

/// The statuses of a pod's containers, those that run first included.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten())
}

fn stuck(pod: &Pod) -> Option<Stuck> {
    let pod_name = name(pod).to_owned();
    for status in statuses(pod) {
        let Some(waiting) = status.state.as_ref().and_then(|state| state.waiting.as_ref()) else { continue };
        let message = waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref() {
            Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
                return Some(Stuck::Image { image: status.image.clone(), reason: message });
            }
            Some("CrashLoopBackOff") => {
                let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
                let ended = last.map_or(message, |last| match (last.reason.as_deref(), last.signal) {
                    (Some("OOMKilled"), _) => "it used more memory than its limit (OOMKilled)".to_owned(),
                    (_, Some(signal)) => format!("signal {signal}"),
                    _ => format!("exit code {}", last.exit_code),
                });
                return Some(Stuck::Crashes { pod: pod_name, container: status.name.clone(), ended });
            }
            Some(
                reason @ ("CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError"
                | "StartError"),
            ) => {
                let reason = format!("{reason}: {message}");
                return Some(Stuck::Container { pod: pod_name, reason });
            }
            _ => {}
        }
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions.into_iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    unscheduled.map(|condition| Stuck::Unschedulable {
        pod: pod_name,
        reason: condition.message.clone().unwrap_or_default(),
    })
}

/// A pod's state and why it is not ready, in the words of the local runtime.
pub fn state(pod: &Pod) -> (PodState, String) {
    let status = pod.status.as_ref();
    if pod.metadata.deletion_timestamp.is_some() {
        return (PodState::Terminating, "it was told to stop".to_owned());
    }
    if let Some(stuck) = stuck(pod) {
        let crashes = matches!(stuck, Stuck::Crashes { .. });
        let state = if crashes { PodState::CrashLoopBackOff } else { PodState::Pending };
        return (state, stuck.to_string());
    }
    let condition = |wanted: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().find(|condition| condition.type_ == wanted)
    };
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return (PodState::Ready, String::new());
    }
    let running =
        statuses(pod).any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    let started = statuses(pod).all(|status| status.started != Some(false));
    let unready: Vec<&str> =
        statuses(pod).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    match (running, started) {
        (false, _) => (PodState::Pending, "its containers are being made".to_owned()),
        (true, false) => (PodState::Starting, format!("{} starts", unready.join(", "))),
        (true, true) => (PodState::NotReady, format!("{} is not ready", unready.join(", "))),
    }
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image { image, reason } => {
                write!(f, "the image {image} cannot be had")?;
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Self::Crashes { pod, container, ended } => {
                write!(f, "{pod}: the container {container} ends again and again: {ended}")
            }
            Self::Unschedulable { pod, reason } => write!(f, "{pod} fits on no node: {reason}"),
            Self::Refused { reason } => write!(f, "its pods are refused: {reason}"),
            Self::Container { pod, reason } => write!(f, "{pod}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "baz", "generation": 2 },
            "spec": {
                "replicas": 3,
                "selector": { "matchLabels": { "app": "baz" } },
                "template": { "spec": { "containers": [{ "name": "baz", "image": "localhost/baz:2" }] } },
            },
            "status": status,
        }))
        .unwrap()
    }

    fn pod(image: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "baz-1", "labels": { "app": "baz" } },
            "spec": { "containers": [{ "name": "baz", "image": image }] },
            "status": status,
        }))
        .unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({ "containerStatuses": [{
            "name": "baz", "image": "localhost/baz:2", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": reason, "message": message } },
            "lastState": { "terminated": { "exitCode": 2 } },
        }] })
    }

    #[test]
    fn it_is_done_when_all_are_new_and_no_old_one_is_left() {
        let whole = json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3 });
        assert!(progress(&deployment(&whole), &[]).done);
        for (field, value) in
            [("observedGeneration", 1), ("replicas", 4), ("updatedReplicas", 2), ("availableReplicas", 2)]
        {
            let mut status = whole.clone();
            status[field] = json!(value);
            assert!(!progress(&deployment(&status), &[]).done, "{field}");
        }
    }

    #[test]
    fn what_keeps_it_is_told_and_what_an_older_pod_does_is_not() {
        let status = json!({ "observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3 });
        let told = |pods: &[Pod]| {
            progress(&deployment(&status), pods).stuck.map(|s| s.to_string()).unwrap_or_default()
        };
        let image = waiting("ImagePullBackOff", "not found");
        assert_eq!(told(&[pod("localhost/baz:1", &image)]), "");
        insta::assert_snapshot!(told(&[pod("localhost/baz:2", &image)]), @"the image localhost/baz:2 cannot be had: not found");
        insta::assert_snapshot!(
            told(&[pod("localhost/baz:2", &waiting("CrashLoopBackOff", "back-off"))]),
            @"baz-1: the container baz ends again and again: exit code 2"
        );
        let unscheduled = json!({ "conditions": [{ "type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes: insufficient cpu" }] });
        insta::assert_snapshot!(
            told(&[pod("localhost/baz:2", &unscheduled)]),
            @"baz-1 fits on no node: 0/1 nodes: insufficient cpu"
        );
        let mut refused = status.clone();
        refused["conditions"] =
            json!([{ "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" }]);
        insta::assert_snapshot!(
            progress(&deployment(&refused), &[]).stuck.unwrap(),
            @"its pods are refused: exceeded quota"
        );
    }

    #[test]
    fn a_pods_state_is_told_in_a_kubelets_words() {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        assert_eq!(state(&pod("i", &ready)), (PodState::Ready, String::new()));
        let running = |started: bool| {
            json!({ "containerStatuses": [{ "name": "baz", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "started": started, "state": { "running": {} } }] })
        };
        assert_eq!(state(&pod("i", &running(false))), (PodState::Starting, "baz starts".to_owned()));
        assert_eq!(state(&pod("i", &running(true))), (PodState::NotReady, "baz is not ready".to_owned()));
        assert_eq!(state(&pod("i", &waiting("CrashLoopBackOff", ""))).0, PodState::CrashLoopBackOff);
    }
}
