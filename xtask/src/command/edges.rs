//! `edges`: who talks to whom, with which identities, secured or not.

use serde::Serialize;

use super::stat::count;
use super::top::missed;
use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::Exit;
use crate::report::{columns, line_out};
use crate::runtime::stat::{EdgeStat, Stat};

/// Looks for a while and shows it.
pub async fn run(args: args::Edges) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let running = super::running(&checkout).await?;
    let Some(stat) = count(&*running, args.span).await? else { return Ok(Exit::Ok) };
    line_out(&match args.output {
        Output::Json => serde_json::to_string(&stat.edges.iter().map(Edge::of).collect::<Vec<_>>())?,
        Output::Text => table(&stat).trim_end().to_owned(),
    });
    Ok(Exit::Ok)
}

/// The fields of `linkerd viz edges -o json`: what is not known is empty.
#[derive(Serialize)]
struct Edge<'a> {
    src: &'a str,
    src_namespace: &'a str,
    dst: &'a str,
    dst_namespace: &'a str,
    client_id: &'a str,
    server_id: &'a str,
    no_tls_reason: &'a str,
}

impl<'a> Edge<'a> {
    fn of(edge: &'a EdgeStat) -> Self {
        Self {
            src: &edge.source.name,
            src_namespace: &edge.source.namespace,
            dst: &edge.destination.name,
            dst_namespace: &edge.destination.namespace,
            client_id: edge.client_id.as_deref().unwrap_or_default(),
            server_id: edge.server_id.as_deref().unwrap_or_default(),
            no_tls_reason: edge.no_tls_reason.as_deref().unwrap_or_default(),
        }
    }
}

/// The columns of `linkerd viz edges -o wide`.
fn table(stat: &Stat) -> String {
    if stat.edges.is_empty() {
        return format!("no calls in {:.0} s\n{}", stat.seconds, missed(stat.missed));
    }
    let titles = ["SRC", "DST", "SRC_NS", "DST_NS", "CLIENT_ID", "SERVER_ID", "SECURED"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(stat.edges.iter().map(|edge| {
        let Edge { src, src_namespace, dst, dst_namespace, client_id, server_id, no_tls_reason } =
            Edge::of(edge);
        let secured = if no_tls_reason.is_empty() { "√" } else { no_tls_reason };
        let cells = [src, dst, src_namespace, dst_namespace, client_id, server_id, secured];
        cells.map(|cell| if cell.is_empty() { "-" } else { cell }.to_owned()).to_vec()
    }));
    columns(&rows) + &missed(stat.missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stat::{Figures, Side};

    #[test]
    fn what_is_not_mutual_tls_says_why() {
        let side =
            |name: &str, namespace: &str| Side { name: name.to_owned(), namespace: namespace.to_owned() };
        let secured = EdgeStat {
            source: side("foo", "default"),
            destination: side("baz", "default"),
            client_id: Some("foo.default".to_owned()),
            server_id: Some("baz.default".to_owned()),
            no_tls_reason: None,
            figures: Figures::default(),
        };
        let plain = EdgeStat {
            source: side("127.0.0.1", ""),
            client_id: None,
            server_id: None,
            no_tls_reason: Some("no_tls_from_remote".to_owned()),
            ..secured.clone()
        };
        let stat = Stat { edges: vec![plain, secured], ..Stat::default() };
        insta::assert_snapshot!(table(&stat), @"
        SRC        DST  SRC_NS   DST_NS   CLIENT_ID    SERVER_ID    SECURED
        127.0.0.1  baz  -        default  -            -            no_tls_from_remote
        foo        baz  default  default  foo.default  baz.default  √
        ");
        insta::assert_snapshot!(table(&Stat { seconds: 5.0, ..Stat::default() }), @"no calls in 5 s");
    }
}
