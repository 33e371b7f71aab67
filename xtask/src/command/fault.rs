//! `fault`: requests that are slow or fail on purpose.

use crate::args::Output;
use crate::args::fault::{Fault, FaultAdd, FaultCommand, FaultRm};
use crate::command::Checkout;
use crate::error::Exit;
use crate::report::{columns, line_out};
use crate::runtime::fault::{FaultRequest, FaultSpec, FaultState, FaultStatus};

/// Adds, lists or removes, and says what is there.
pub async fn run(args: Fault) -> anyhow::Result<Exit> {
    let (request, output) = match args.command {
        FaultCommand::Add(add) => {
            let output = add.output;
            let spec = spec(add);
            spec.check()?;
            (FaultRequest::Add(spec), output)
        }
        FaultCommand::List(list) => (FaultRequest::List, list.output),
        FaultCommand::Rm(FaultRm { ids, all, output }) => {
            (FaultRequest::Remove((!all).then_some(ids)), output)
        }
    };
    let running = super::running(&Checkout::open().await?).await?;
    let state = running.fault(request).await?;
    match output {
        Output::Json => line_out(&serde_json::to_string(&state)?),
        Output::Text => line_out(told(&state).trim_end()),
    }
    Ok(Exit::Ok)
}

fn spec(add: FaultAdd) -> FaultSpec {
    FaultSpec {
        service: add.service,
        port: add.port,
        route: add.route,
        from: add.from,
        delay: add.delay,
        statuses: add.status,
        grpc_statuses: add.grpc_status,
        abort_percent: add.abort.map(|percent| percent.0),
    }
}

/// What was done, and what is there.
fn told(state: &FaultState) -> String {
    if let Some(added) = state.added
        && let Some(fault) = state.faults.iter().find(|fault| fault.id == added)
    {
        let (id, of, effects) = (fault.id, fault.spec.of(), fault.spec.effects());
        return format!("fault {id} on {of}: {effects}\nremove it with `cargo xtask fault rm {id}`\n");
    }
    let removed: Vec<String> = state.removed.iter().map(|id| format!("fault {id} removed\n")).collect();
    match (removed.is_empty(), state.faults.is_empty()) {
        (true, true) => "no faults\n".to_owned(),
        (true, false) => table(&state.faults),
        (false, _) => removed.concat(),
    }
}

fn table(faults: &[FaultStatus]) -> String {
    let mut rows =
        vec![["ID", "SERVICE", "ROUTE", "FROM", "REQUESTS", "HIT", "FAULT"].map(str::to_owned).to_vec()];
    rows.extend(faults.iter().map(|FaultStatus { id, spec, requests, hit, .. }| {
        let port = spec.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
        let or_all = |given: &Option<String>| given.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            id.to_string(),
            format!("{}{port}", spec.service),
            or_all(&spec.route),
            or_all(&spec.from),
            requests.to_string(),
            hit.to_string(),
            spec.effects(),
        ]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> FaultState {
        let spec = FaultSpec {
            service: "baz".into(),
            port: Some("http".into()),
            route: Some("/foo/bar".into()),
            statuses: vec!["500@10%".parse().unwrap()],
            ..FaultSpec::default()
        };
        let fault = FaultStatus { id: 2, spec, requests: 50, hit: 4, delayed: 0, answered: 4, aborted: 0 };
        FaultState { faults: vec![fault], ..FaultState::default() }
    }

    #[test]
    fn faults_are_told_with_what_they_hit() {
        insta::assert_snapshot!(told(&state()), @"
        ID  SERVICE   ROUTE     FROM  REQUESTS  HIT  FAULT
        2   baz:http  /foo/bar  -     50        4    status 500@10%
        ");
        insta::assert_snapshot!(told(&FaultState { added: Some(2), ..state() }), @"
        fault 2 on baz:http /foo/bar: status 500@10%
        remove it with `cargo xtask fault rm 2`
        ");
        insta::assert_snapshot!(told(&FaultState { removed: vec![1, 3], ..state() }), @"
        fault 1 removed
        fault 3 removed
        ");
        insta::assert_snapshot!(told(&FaultState::default()), @"no faults");
    }

    #[test]
    fn scripts_read_plain_fields() {
        insta::assert_snapshot!(serde_json::to_string(&state()).unwrap(), @r#"{"faults":[{"id":2,"service":"baz","port":"http","route":"/foo/bar","from":null,"delay":null,"statuses":[{"status":500,"percent":10.0}],"grpc_statuses":[],"abort_percent":null,"requests":50,"hit":4,"delayed":0,"answered":4,"aborted":0}]}"#);
    }
}
