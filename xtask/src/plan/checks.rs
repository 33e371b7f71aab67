//! What must hold across objects: one check a function, every mistake told with its place, cause and remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::lookup::{containers, name, pod, pod_labels, ports, selects, variables};
use super::{Plan, Reference, Sourced};
use crate::workspace::manifests::{DIRECTORIES, Manifests, Source};
use crate::workspace::problem::{Problem, suggest};
use crate::workspace::selector::{Labels, matches, text};
use crate::workspace::{Spot, Workspace};

/// Every mistake of a plan.
pub fn check(plan: &Plan, workspace: &Workspace, manifests: &Manifests) -> Vec<Problem> {
    let mut check = Check { plan, manifests, problems: Vec::new() };
    if plan.deployments.is_empty() {
        let message = "no Deployment: nothing would run; add one";
        check.problems.push(Problem::of_file(Path::new(DIRECTORIES[0]), message));
    }
    check.names();
    check.images(workspace);
    check.service_accounts();
    check.deployment_selectors();
    check.services();
    check.ingresses();
    check.references();
    check.problems
}

struct Check<'a> {
    plan: &'a Plan,
    manifests: &'a Manifests,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn tell(&mut self, source: &Source, spot: &Spot, message: impl Into<String>) {
        self.problems.push(self.manifests.problem(source, spot, message));
    }

    /// No two objects of a kind have one name, and all are in one namespace.
    fn names(&mut self) {
        let plan = self.plan;
        let mut first: BTreeMap<_, &Source> = BTreeMap::new();
        for (kind, name, namespace, source) in objects(plan) {
            let spot = Spot::root().keys(&["metadata", "name"]);
            match first.get(&(kind, name)) {
                None => {
                    first.insert((kind, name), source);
                }
                Some(Source { file, line }) => {
                    let place = format!("{}:{line}", file.display());
                    let message =
                        format!("duplicate {kind} \"{name}\", the other is at {place}; rename or remove one");
                    self.tell(source, &spot, message);
                }
            }
            if namespace.unwrap_or(super::NAMESPACE) != plan.namespace {
                let message = format!(
                    "{kind} \"{name}\" is in the namespace \"{}\" and others are in \"{}\"; an environment has one namespace",
                    namespace.unwrap_or(super::NAMESPACE),
                    plan.namespace
                );
                self.tell(source, &Spot::root().keys(&["metadata", "namespace"]), message);
            }
        }
    }

    /// Every image is one that this workspace builds.
    fn images(&mut self, workspace: &Workspace) {
        for deployment in &self.plan.deployments {
            for (spot, container) in containers(&deployment.object) {
                let image = container.image.as_deref().unwrap_or_default();
                if workspace.service(image).is_some() {
                    continue;
                }
                let untagged = image.split([':', '@']).next().unwrap_or_default();
                let message = if workspace.service(untagged).is_some() {
                    format!("the image \"{image}\" has a tag, and images are built here; write {untagged}")
                } else {
                    let known = workspace.services.iter().map(|service| service.name.as_str());
                    format!(
                        "no service of this workspace builds the image \"{image}\"{}",
                        suggest(image, known)
                    )
                };
                self.tell(&deployment.source, &spot.key("image"), message);
            }
        }
    }

    /// Every `ServiceAccount` that pods run as is there; `default` is in every namespace.
    fn service_accounts(&mut self) {
        let plan = self.plan;
        for deployment in &plan.deployments {
            let wanted = pod(&deployment.object).and_then(|pod| pod.service_account_name.as_deref());
            let known = plan.service_accounts.iter().map(|account| name(&account.object));
            let Some(wanted) =
                wanted.filter(|&wanted| wanted != "default" && !known.clone().any(|n| n == wanted))
            else {
                continue;
            };
            let spot = Spot::root().keys(&["spec", "template", "spec", "serviceAccountName"]);
            let message = format!("there is no ServiceAccount \"{wanted}\"{}", suggest(wanted, known));
            self.tell(&deployment.source, &spot, message);
        }
    }

    /// No Deployment selects the pods of another: both would count them as their own.
    fn deployment_selectors(&mut self) {
        let plan = self.plan;
        for deployment in &plan.deployments {
            let Some(spec) = &deployment.object.spec else { continue };
            for other in
                plan.deployments.iter().filter(|other| name(&other.object) != name(&deployment.object))
            {
                if pod_labels(&other.object).is_some_and(|labels| matches(&spec.selector, labels)) {
                    let message = format!(
                        "the selector of Deployment \"{}\" also matches the pods of Deployment \"{}\"; give them different labels",
                        name(&deployment.object),
                        name(&other.object)
                    );
                    self.tell(&deployment.source, &Spot::root().keys(&["spec", "selector"]), message);
                }
            }
        }
    }

    /// Every Service has pods behind it, with the ports that it names.
    fn services(&mut self) {
        let plan = self.plan;
        for Sourced { object, source } in &plan.services {
            let spot = Spot::root().keys(&["spec", "selector"]);
            let service = name(object);
            let selector = object.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
            if selector.is_empty() {
                let message = format!("Service \"{service}\" has no selector, so no pods; add one");
                self.tell(source, &spot, message);
                continue;
            }
            let selected: Vec<_> = plan.deployments.iter().filter(|d| selects(object, &d.object)).collect();
            if selected.is_empty() {
                let pods: BTreeSet<_> =
                    plan.deployments.iter().filter_map(|d| pod_labels(&d.object)).map(text).collect();
                let message = format!(
                    "the selector of Service \"{service}\" ({}) matches no pods; {}",
                    text(&selector),
                    near(&selector, &pods)
                );
                self.tell(source, &spot, message);
            }
            for deployment in selected {
                self.target_ports(object, source, deployment);
            }
        }
    }

    fn target_ports(
        &mut self,
        service: &Service,
        source: &Source,
        deployment: &'a Sourced<k8s_openapi::api::apps::v1::Deployment>,
    ) {
        let named =
            containers(&deployment.object).flat_map(|(_, container)| container.ports.iter().flatten());
        let known: Vec<_> = named.filter_map(|port| port.name.as_deref()).collect();
        for (index, port) in ports(service).iter().enumerate() {
            let Some(IntOrString::String(wanted)) = &port.target_port else { continue };
            if !known.contains(&wanted.as_str()) {
                let spot = Spot::root().keys(&["spec", "ports"]).index(index).key("targetPort");
                let message = format!(
                    "no container of Deployment \"{}\" has a port \"{wanted}\"{}",
                    name(&deployment.object),
                    suggest(wanted, known.iter().copied())
                );
                self.tell(source, &spot, message);
            }
        }
    }

    /// Every backend is a Service's port, and no route is given twice.
    fn ingresses(&mut self) {
        let plan = self.plan;
        let mut routes = BTreeMap::new();
        for Sourced { object, source } in &plan.ingresses {
            let Some(spec) = &object.spec else { continue };
            if let Some(backend) = &spec.default_backend {
                self.backend(source, &Spot::root().keys(&["spec", "defaultBackend"]), backend);
            }
            for (index, rule) in spec.rules.iter().flatten().enumerate() {
                let spot = Spot::root().keys(&["spec", "rules"]).index(index).keys(&["http", "paths"]);
                for (index, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                    let spot = spot.index(index);
                    self.backend(source, &spot.key("backend"), &path.backend);
                    let (host, given) =
                        (rule.host.as_deref().unwrap_or("*"), path.path.as_deref().unwrap_or("/"));
                    if let Some((file, line)) = routes.get(&(host, given, &path.path_type)) {
                        let message =
                            format!("the route {host}{given} is also at {file}:{line}; remove one of both");
                        self.tell(source, &spot, message);
                    } else {
                        let line = self.manifests.locate(source, &spot).0;
                        routes.insert((host, given, &path.path_type), (source.file.display(), line));
                    }
                }
            }
        }
    }

    fn backend(&mut self, source: &Source, spot: &Spot, backend: &IngressBackend) {
        let Some(wanted) = &backend.service else { return };
        let spot = spot.key("service");
        let Some(service) = self.plan.service(&wanted.name) else {
            let known = self.plan.services.iter().map(|service| name(&service.object));
            let message = format!("there is no Service \"{}\"{}", wanted.name, suggest(&wanted.name, known));
            return self.tell(source, &spot.key("name"), message);
        };
        let Some(port) = &wanted.port else { return };
        let given = |known: &ServicePort| match &port.name {
            Some(name) => known.name.as_ref() == Some(name),
            None => Some(known.port) == port.number,
        };
        if !ports(&service.object).iter().any(given) {
            let wanted_port = port.name.clone().unwrap_or_else(|| port.number.unwrap_or(0).to_string());
            let message = format!(
                "the Service \"{}\" has no port {wanted_port}; it has {}",
                wanted.name,
                ports_text(&service.object)
            );
            self.tell(source, &spot.key("port"), message);
        }
    }

    /// What environment variables name is there.
    fn references(&mut self) {
        let plan = self.plan;
        for deployment in &plan.deployments {
            for (spot, variable) in variables(&deployment.object) {
                let Some(value) = &variable.value else { continue };
                let cause = match Reference::parse(value) {
                    Ok(None) => continue,
                    Ok(Some(reference)) => self.reference(&reference),
                    Err(error) => Some(format!("is no URL: {error}; write a number from 1 to 65535")),
                };
                if let Some(cause) = cause {
                    let message = format!("{}=\"{value}\" {cause}", variable.name);
                    self.tell(&deployment.source, &spot.key("value"), message);
                }
            }
        }
    }

    /// Why a reference leads nowhere.
    fn reference(&self, reference: &Reference) -> Option<String> {
        let plan = self.plan;
        let wanted = reference.service.as_str();
        let service = plan.service(wanted);
        if reference.is_ingress_service() {
            return (!reference.is_ingress())
                .then(|| "names a port that the ingress does not have; it has 80".to_owned());
        }
        if let Some(namespace) =
            reference.namespace.as_ref().filter(|namespace| **namespace != plan.namespace)
        {
            // `x.y` may as well be a name of the internet's: only what looks meant is a mistake.
            return (reference.qualified || service.is_some()).then(|| {
                format!(
                    "names the namespace \"{namespace}\", and this environment has \"{}\" only; write {wanted}",
                    plan.namespace
                )
            });
        }
        let Some(service) = service else {
            let known = plan.services.iter().map(|service| name(&service.object));
            return Some(format!(
                "names the Service \"{wanted}\", which is not there{}",
                suggest(wanted, known)
            ));
        };
        let known = ports_text(&service.object);
        match reference.port_or_default() {
            None => Some(format!("names no port of the Service \"{wanted}\"; it has {known}")),
            Some(port) if !ports(&service.object).iter().any(|known| known.port == i32::from(port)) => {
                Some(format!("names port {port} of the Service \"{wanted}\"; it has {known}"))
            }
            Some(_) => None,
        }
    }
}

/// Kind, name, namespace and source of every object.
fn objects(plan: &Plan) -> Vec<(&'static str, &str, Option<&str>, &Source)> {
    fn of<T>(objects: &[Sourced<T>]) -> impl Iterator<Item = (&'static str, &str, Option<&str>, &Source)>
    where
        T: Resource + k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
    {
        objects.iter().map(|Sourced { object, source }| {
            (T::KIND, name(object), object.metadata().namespace.as_deref(), source)
        })
    }
    let mut objects: Vec<_> = of(&plan.service_accounts)
        .chain(of(&plan.services))
        .chain(of(&plan.deployments))
        .chain(of::<Ingress>(&plan.ingresses))
        .collect();
    objects.sort();
    objects
}

fn ports_text(service: &Service) -> String {
    let texts: Vec<_> = ports(service)
        .iter()
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// What a selector may have meant.
fn near(selector: &Labels, pods: &BTreeSet<String>) -> String {
    let known = pods.iter().map(String::as_str);
    let wanted = text(selector);
    match crate::workspace::problem::nearest(&wanted, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None if pods.is_empty() => "no Deployment gives its pods labels".to_owned(),
        None => format!("the pods have {}", known.collect::<Vec<_>>().join(" or ")),
    }
}
