//! What a client's own sidecar does with a call before it leaves: the routes of the Service.

use http::HeaderMap;

use super::{Call, Caller, Link, Outcome, Seen};
use crate::cluster::ClusterInfo;
use crate::inbound::ProxyProtocol;
use crate::model::Objects;
use crate::outbound::{Broken, ServicePolicy, ServicePort, Step, Target, Trace, Verdict};
use crate::route::{Filter, Request};

/// What becomes of a call at its client's sidecar.
pub(super) enum Left {
    /// It goes on, to this Service's port, with these headers.
    For { service: ServicePort, headers: HeaderMap },
    /// It is answered there.
    Answered { outcome: Outcome, seen: Seen },
}

/// Follows a call through its client's sidecar; the steps are added to the chain. `port`: the Service's that it
/// names.
pub(super) fn leave(
    objects: &Objects,
    cluster: &ClusterInfo,
    caller: &Caller,
    call: &Call,
    (port, request): (u16, &Request<'_>),
    chain: &mut Vec<Link>,
) -> Left {
    let service = ServicePort::new(&call.namespace, &call.service, port);
    let unchanged = || Left::For { service: service.clone(), headers: call.headers.clone() };
    let Some((_, namespace)) = &caller.account else { return unchanged() };
    let Some(policy) = ServicePolicy::new(objects, cluster, namespace, &service) else { return unchanged() };
    if matches!(policy.protocol, ProxyProtocol::Opaque | ProxyProtocol::Tls) {
        return unchanged();
    }
    chain.extend(policy.ignored.iter().map(super::chain::ignored));
    if policy.only_rule().is_some() {
        // No routes of its own: nothing to tell.
        return unchanged();
    }
    let (verdict, trace) = Trace::of_request(&policy, request);
    chain.extend(trace.steps.iter().map(link));
    let answered =
        |outcome, http, grpc| Left::Answered { outcome, seen: super::seen::shaped(http, grpc, call) };
    match verdict {
        Verdict::Forward(matched) => {
            let shares = matched.traffic.backends.iter().zip(matched.traffic.backends.shares());
            let reachable = shares.filter_map(|(backend, share)| match &backend.target {
                Target::Service(service) => Some((service, backend, share)),
                Target::Missing(_) => None,
            });
            // The first of those with the largest share is the one that is followed.
            let most = reachable.reduce(|most, next| if next.2 > most.2 { next } else { most });
            let Some((service, backend, _)) = most else { return unchanged() };
            let mut headers = call.headers.clone();
            for filter in matched.filters.iter().chain(&backend.filters) {
                if let Filter::RequestHeaders(edit) = filter {
                    edit.apply(&mut headers);
                }
            }
            Left::For { service: service.clone(), headers }
        }
        Verdict::Redirect(_, redirection) => answered(Outcome::Allow, redirection.status.as_u16(), 5),
        Verdict::BackendMissing(_, failure) => answered(Outcome::NoRoute, failure.http, failure.grpc),
        Verdict::NoRoute => answered(Outcome::NoRoute, 404, 5),
        Verdict::InvalidRedirect(..) | Verdict::Broken(Broken::Unreadable(_)) => {
            answered(Outcome::NoRoute, 500, 13)
        }
        Verdict::Broken(Broken::Fatal(_)) => {
            Left::Answered { outcome: Outcome::NoRoute, seen: Seen { http_status: None, grpc_status: None } }
        }
    }
}

fn link(step: &Step) -> Link {
    let text = match step {
        Step::Broken(Broken::Unreadable(why) | Broken::Fatal(why)) => {
            format!("the client's proxy cannot use the Service's routes: {why}")
        }
        Step::Passed { route, by_host: true } => format!("{route} is for other hosts"),
        Step::Passed { route, by_host: false } => format!("{route} does not match"),
        Step::Outdone { route, rule } => format!("{route} matches too (rule {}), but not as well", rule + 1),
        Step::Route { route, rule } => format!("{route} takes it (rule {})", rule + 1),
        Step::NoRoute => {
            "no route of the Service takes it, so it does not leave the client's sidecar".to_owned()
        }
        Step::Redirect(to) => format!("the route redirects to {}", to.location),
        Step::InvalidRedirect(why) => format!("the route's redirect cannot be made: {why}"),
        Step::Backend { target: Target::Service(service), share } => {
            format!("{:.0} % go to {service}", share * 100.0)
        }
        Step::Backend { target: Target::Missing(failure), share } => {
            format!("{:.0} % go nowhere: {}", share * 100.0, failure.message)
        }
    };
    Link::new("outbound", None, text)
}
