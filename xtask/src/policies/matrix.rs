//! Who may call what, for every client and every port: what becomes of each request that policies tell apart.

use policy::explain::{Outcome, explain};
use policy::model::Named as _;
use policy::sample::{Sample, samples};
use serde::Serialize;

use super::World;
use super::client::{caller, names};

/// A client and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The client, as [`caller`] takes it.
    pub client: String,
    /// The Service and its port: `baz:grpc`.
    pub to: String,
    /// A Server is in the way. Without one the default policy lets everybody in.
    pub guarded: bool,
    /// What becomes of each request that the port's policies tell apart.
    pub requests: Vec<Asked>,
}

/// A request, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// `/foo/bar`, `demo.Baz/GetInfo`, `any path`.
    pub request: String,
    /// The verdict.
    pub verdict: Outcome,
}

/// Every client and every port of every Service, by port.
pub fn cells(world: &World) -> Vec<Cell> {
    let clients = names(&world.objects, &world.plan.namespace);
    let mut cells = Vec::new();
    for (to, samples) in ports(world) {
        for client in &clients {
            let explained = samples.iter().filter_map(|sample| Some((sample, told(world, client, sample)?)));
            let mut guarded = false;
            let requests = explained.map(|(sample, told)| {
                guarded |= told.chain.iter().any(|link| link.step == "server" && link.object.is_some());
                Asked { request: sample.name.clone(), verdict: told.verdict }
            });
            let requests = requests.collect();
            cells.push(Cell { client: client.clone(), to: to.clone(), guarded, requests });
        }
    }
    cells
}

/// A request of a cell, and the steps to its verdict as `policy explain` tells them.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The request.
    pub request: String,
    /// Everything that is known of it.
    #[serde(flatten)]
    pub explanation: policy::explain::Explanation,
}

/// Why each request of a cell ends as it does; none where there is no such port or client.
pub fn explained(world: &World, client: &str, to: &str) -> Vec<Explained> {
    let samples = ports(world).into_iter().find(|(own, _)| own == to).map(|(_, samples)| samples);
    let explained =
        |sample: Sample| Some(Explained { explanation: told(world, client, &sample)?, request: sample.name });
    samples.into_iter().flatten().filter_map(explained).collect()
}

fn told(world: &World, client: &str, sample: &Sample) -> Option<policy::explain::Explanation> {
    let from = caller(&world.objects, client, &world.plan.namespace).ok()?;
    explain(&world.objects, &world.cluster, &from, &sample.call).ok()
}

/// The ports that a call can be sent to.
fn ports(world: &World) -> Vec<(String, Vec<Sample>)> {
    let mut all = Vec::new();
    for service in &world.objects.services {
        for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            let shown = port.name.clone().unwrap_or_else(|| port.port.to_string());
            let (name, namespace) = (service.name(), &world.plan.namespace);
            if let Ok(samples) = samples(&world.objects, &world.cluster, name, namespace, &shown) {
                all.push((format!("{name}:{shown}"), samples));
            }
        }
    }
    all
}
