//! A mode as typed changes to the Deployments.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::EnvVar;

use super::{Mode, Sourced};
use crate::workspace::Spot;
use crate::workspace::manifests::{DIRECTORIES, Manifests};
use crate::workspace::problem::Problem;

/// The variable that picks the protocol between services.
const USE_GRPC: &str = "USE_GRPC";

/// The annotation that asks for a sidecar (Linkerd's proxy injector).
pub const INJECT: &str = "linkerd.io/inject";

/// Sets what the mode says on every Deployment. A switch that is on and changes nothing is a mistake:
/// the environment would come up as if it were off. (`--linkerd` changes every Deployment.)
pub fn apply(
    mode: Mode,
    deployments: &mut [Sourced<Deployment>],
    manifests: &Manifests,
    problems: &mut Vec<Problem>,
) {
    let mut protocols = 0;
    for Sourced { object, source } in &mut *deployments {
        let Some(spec) = &mut object.spec else { continue };
        let inject = if mode.linkerd { "enabled" } else { "disabled" };
        let metadata = spec.template.metadata.get_or_insert_default();
        metadata.annotations.get_or_insert_default().insert(INJECT.to_owned(), inject.to_owned());
        for (spot, variable) in variables_mut(object) {
            if variable.name != USE_GRPC {
                continue;
            }
            if variable.value_from.is_some() {
                let message =
                    format!("{USE_GRPC} comes from elsewhere; give it a value, which the mode sets");
                problems.push(manifests.problem(source, &spot, message));
            }
            variable.value = Some(mode.grpc.to_string());
            protocols += 1;
        }
    }
    // That there is no Deployment at all is told by the checks.
    if mode.grpc && protocols == 0 && !deployments.is_empty() {
        let message = format!(
            "--grpc changes nothing: no container has the variable {USE_GRPC}; add it to the env of those that call others"
        );
        problems.push(Problem::of_file(Path::new(DIRECTORIES[0]), message));
    }
}

/// The variables of every container, each with its field.
fn variables_mut(deployment: &mut Deployment) -> impl Iterator<Item = (Spot, &mut EnvVar)> {
    let pod = deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    pod.into_iter().flat_map(|pod| {
        let init = pod.init_containers.iter_mut().flatten().enumerate().map(|item| ("initContainers", item));
        let main = pod.containers.iter_mut().enumerate().map(|item| ("containers", item));
        init.chain(main).flat_map(|(field, (index, container))| {
            let env = Spot::root().keys(&["spec", "template", "spec", field]).index(index).key("env");
            container
                .env
                .iter_mut()
                .flatten()
                .enumerate()
                .map(move |(index, variable)| (env.index(index), variable))
        })
    })
}
