//! A plan as the policy engine sees it.

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy::model::{Objects, Workload};

use super::Plan;

/// The name of the ingress's `ServiceAccount` and of its namespace: what the chart of ingress-nginx makes, and
/// who the local runtime's ingress is.
pub const INGRESS_ACCOUNT: (&str, &str) = ("ingress-nginx", "ingress-nginx");

/// The plan's objects without any policy: what runs, how it is called, and who its clients can be, with the
/// `ServiceAccount` of the ingress where there is one. Every object names its namespace.
pub fn objects(plan: &Plan) -> Objects {
    let mut service_accounts = placed(plan, plan.service_accounts.iter().map(|own| &own.object));
    if plan.ingress {
        service_accounts.push(ServiceAccount {
            metadata: ObjectMeta {
                name: Some(INGRESS_ACCOUNT.0.to_owned()),
                namespace: Some(INGRESS_ACCOUNT.1.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        });
    }
    let deployments = placed(plan, plan.deployments.iter().map(|own| &own.object));
    Objects {
        service_accounts,
        workloads: deployments.iter().map(Workload::of).collect(),
        services: placed(plan, plan.services.iter().map(|own| &own.object)),
        ingresses: placed(plan, plan.ingresses.iter().map(|own| &own.object)),
        ..Objects::default()
    }
}

fn placed<'a, T>(plan: &Plan, objects: impl Iterator<Item = &'a T>) -> Vec<T>
where
    T: Metadata<Ty = ObjectMeta> + Clone + 'a,
{
    let place = |object: &T| {
        let mut object = object.clone();
        object.metadata_mut().namespace.get_or_insert_with(|| plan.namespace.clone());
        object
    };
    objects.map(place).collect()
}
