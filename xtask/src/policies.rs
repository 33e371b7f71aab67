//! The policies of this workspace and what they mean for its services: pure, but for reading files.

use std::path::{Path, PathBuf};

use policy::cluster::ClusterInfo;
use policy::model::Objects;

use crate::plan::{self, Mode, Plan};
use crate::runtime::policy::Given;
use crate::workspace::Workspace;
use crate::workspace::manifests::Manifests;
use crate::workspace::policies::Policies;
use crate::workspace::problem::Problems;

pub mod check;
pub mod client;
pub mod edges;
pub mod effect;
pub mod expect;
pub mod graph;
pub mod matrix;

pub mod remedy;

/// The directory of the shipped policies of a mode, relative to the workspace's root.
pub fn shipped(grpc: bool) -> PathBuf {
    Path::new("manifests/policy").join(if grpc { "grpc" } else { "http" })
}

/// What decisions depend on, as written in this workspace.
#[derive(Clone, Debug)]
pub struct World {
    /// What runs and how it is called, with sidecars.
    pub plan: Plan,
    /// The plan's objects and the policies.
    pub objects: Objects,
    /// Linkerd as `linkerd install` sets it up.
    pub cluster: ClusterInfo,
}

impl World {
    /// The plan of a mode with policies of these files (relative to the root, or absolute). Errors with every
    /// mistake in them.
    pub fn read(workspace: &Workspace, grpc: bool, paths: &[PathBuf]) -> Result<Self, Problems> {
        let plan = with_mesh(workspace, grpc)?;
        let policies = Policies::read(&workspace.root, paths)?;
        let mut objects = plan::objects(&plan);
        policies.add_to(&mut objects);
        Ok(Self { plan, objects, cluster: ClusterInfo::default() })
    }
}

/// What is to exist in a mode with sidecars.
pub fn with_mesh(workspace: &Workspace, grpc: bool) -> Result<Plan, Problems> {
    let options = plan::Options { mode: Mode { grpc, linkerd: true }, ingress: true };
    Plan::new(workspace, &Manifests::read(&workspace.root)?, options)
}

/// Every object of some policies, with its file.
pub fn given(policies: &Policies) -> Vec<Given> {
    let mut all = Vec::new();
    macro_rules! each {
        ($($list:ident),+) => {
            $(all.extend(policies.$list.iter().map(|own| Given {
                object: own.object.clone().into(),
                file: own.source.file.clone(),
            }));)+
        };
    }
    each!(
        namespaces,
        servers,
        authorization_policies,
        mesh_tls_authentications,
        network_authentications,
        rate_limits,
        http_routes,
        grpc_routes
    );
    all
}
