//! `call`: one real request, or many, from a client with a given identity.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;

use crate::args;
use crate::error::{Exit, Fault};
use crate::runtime::{CallAnswer, CallRequest, Running};
use client::code_name;

/// Sends it and prints what came back: ok if all answers are below 400 and gRPC's are 0, else failed.
pub async fn run(args: args::Call, runtime: &dyn Running) -> anyhow::Result<Exit> {
    let request = request(&args)?;
    let answer = runtime.call(request.clone()).await?;
    match args.output {
        args::Output::Text => print!("{}", text(&request, &answer)),
        args::Output::Json => {
            println!("{}", serde_json::to_string_pretty(&answer).context("cannot write the answer")?);
        }
    }
    Ok(if succeeded(&answer) { Exit::Ok } else { Exit::Failed })
}

/// Reads the target, the headers and the rest. Errors (usage) say the form.
pub fn request(args: &args::Call) -> Result<CallRequest, Fault> {
    let (service, port, path) = target(&args.target)?;
    let headers = args.headers.iter().map(|header| self::header(header)).collect::<Result<_, _>>()?;
    Ok(CallRequest {
        service_account: args.service_account.clone().filter(|_| !args.unmeshed),
        service,
        port,
        path,
        method: args.method.clone(),
        headers,
        data: args.data.clone(),
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
        count: args.count,
        concurrency: args.concurrency,
        keep: false,
    })
}

/// `SERVICE:PORT/PATH` in its parts; no path is `/`.
fn target(target: &str) -> Result<(String, String, String), Fault> {
    let wrong = |why: &str| {
        Fault::usage(format!("`{target}` is not SERVICE:PORT/PATH: {why}"))
            .hint("for example baz:80/foo/bar, baz:http/, or baz:9090/demo.Baz/GetInfo")
    };
    if target.contains("://") {
        return Err(wrong("it has a scheme, which is not needed"));
    }
    let at = target.find(['/', '?']).unwrap_or(target.len());
    let (authority, path) = target.split_at(at);
    let (service, port) = authority.split_once(':').ok_or_else(|| wrong("the port is missing"))?;
    if service.is_empty() {
        return Err(wrong("the Service is missing"));
    }
    if port.is_empty() {
        return Err(wrong("the port is missing"));
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((service.to_owned(), port.to_owned(), format!("{slash}{path}")))
}

/// `name: value`; `name:` for an empty value.
fn header(header: &str) -> Result<(String, String), Fault> {
    let (name, value) = header
        .split_once(':')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| Fault::usage(format!("`{header}` is not a header: write 'name: value'")))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Whether everything was answered, and well.
fn succeeded(answer: &CallAnswer) -> bool {
    let one = answer.error.is_none()
        && answer.status.is_some_and(|status| status < 400)
        && answer.grpc_status.is_none_or(|code| code == 0);
    let good = |outcome: &str| {
        outcome
            .strip_prefix("grpc ")
            .map_or_else(|| outcome.parse::<u16>().is_ok_and(|status| status < 400), |code| code == "0")
    };
    one && answer.outcomes.keys().all(|outcome| good(outcome))
}

/// What people read: the counts, if there are any, and the last answer as `curl -i` shows one.
fn text(request: &CallRequest, answer: &CallAnswer) -> String {
    let mut text = String::new();
    if request.count > 1 {
        text += &counts(request, answer);
        text += "\nThe last answer:\n\n";
    }
    // Writing to a String does not fail.
    let _ = one(&mut text, answer);
    text
}

fn one(text: &mut String, answer: &CallAnswer) -> std::fmt::Result {
    if let Some(status) = answer.status {
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        writeln!(text, "HTTP {status} {}", reason.unwrap_or_default())?;
        for (name, value) in &answer.headers {
            writeln!(text, "{name}: {value}")?;
        }
        writeln!(text)?;
        if !answer.body.is_empty() {
            writeln!(text, "{}\n", answer.body.trim_end())?;
        }
        for (name, value) in &answer.trailers {
            writeln!(text, "{name}: {value}")?;
        }
        if !answer.trailers.is_empty() {
            writeln!(text)?;
        }
    }
    if let Some(code) = answer.grpc_status {
        let message = answer.grpc_message.as_deref().filter(|message| !message.is_empty());
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        writeln!(text, "gRPC {code} {}{message}", code_name(code))?;
    }
    if let Some(error) = &answer.error {
        writeln!(text, "{}: {error}", if answer.status.is_some() { "broken off" } else { "no answer" })?;
    }
    match &answer.pod {
        Some(pod) => writeln!(text, "from {pod} in {:.1} ms", answer.ms),
        None => writeln!(text, "after {:.1} ms", answer.ms),
    }
}

fn counts(request: &CallRequest, answer: &CallAnswer) -> String {
    let CallRequest { service, port, path, count, .. } = request;
    let client = match &request.service_account {
        Some(account) => format!("as {account}"),
        None => "without a sidecar".to_owned(),
    };
    let at_once = request.concurrency.clamp(1, *count);
    let mut text = format!("{count} requests to {service}:{port}{path} {client}, {at_once} at once\n\n");
    if !answer.pods.is_empty() {
        text += &table("POD", "ANSWERS", &answer.pods);
        text.push('\n');
    }
    text + &table("OUTCOME", "REQUESTS", &answer.outcomes)
}

/// Names with their counts and shares of all, most first.
fn table(name: &str, column: &str, counts: &BTreeMap<String, u32>) -> String {
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let all: u64 = counts.values().map(|count| u64::from(*count)).sum();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(name.len());
    let mut text = format!("{name:width$}  {column}  SHARE\n");
    for (name, count) in rows {
        let share = (u64::from(*count) * 100 + all / 2) / all.max(1);
        let _ = writeln!(text, "{name:width$}  {count:>right$}  {share:>3} %", right = column.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<CallRequest, Fault> {
        let all = ["xtask", "call"].iter().chain(arguments);
        match args::Args::parse_from(all).command {
            args::Command::Call(call) => request(&call),
            other => panic!("{other:?}"),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn good() -> CallAnswer {
        CallAnswer {
            status: Some(200),
            grpc_status: Some(0),
            headers: pairs(&[("content-type", "application/grpc")]),
            trailers: pairs(&[("grpc-status", "0")]),
            body: r#"{"hostname":"baz-5d9c-x2x4z"}"#.to_owned(),
            pod: Some("baz-5d9c-x2x4z".to_owned()),
            ms: 1.26,
            ..CallAnswer::default()
        }
    }

    #[test]
    fn a_target_is_service_port_and_path() {
        let request = parse(&["--as", "bar", "-H", "X-Who: me: too", "baz:9090/demo.Baz/GetInfo"]).unwrap();
        assert_eq!((&*request.service, &*request.port, &*request.path), ("baz", "9090", "/demo.Baz/GetInfo"));
        assert_eq!(request.headers, pairs(&[("X-Who", "me: too")]));
        assert_eq!((request.service_account.as_deref(), request.timeout_ms), (Some("bar"), 15_000));
        assert_eq!(parse(&["baz:http"]).unwrap().path, "/");
        assert_eq!(parse(&["baz:http?a=b/c"]).unwrap().path, "/?a=b/c");
    }

    #[test]
    fn what_is_no_target_or_header_is_told_the_form() {
        let wrong: Vec<_> =
            [&["baz"][..], &["baz/x:1"], &[":80/"], &["http://baz:80/"], &["-H", "x", "baz:80/"]]
                .iter()
                .map(|arguments| {
                    let fault = parse(arguments).unwrap_err();
                    format!("{fault}\n  hint: {}", fault.the_hint().unwrap_or("-"))
                })
                .collect();
        insta::assert_snapshot!(wrong.join("\n"), @r"
        `baz` is not SERVICE:PORT/PATH: the port is missing
          hint: for example baz:80/foo/bar, baz:http/, or baz:9090/demo.Baz/GetInfo
        `baz/x:1` is not SERVICE:PORT/PATH: the port is missing
          hint: for example baz:80/foo/bar, baz:http/, or baz:9090/demo.Baz/GetInfo
        `:80/` is not SERVICE:PORT/PATH: the Service is missing
          hint: for example baz:80/foo/bar, baz:http/, or baz:9090/demo.Baz/GetInfo
        `http://baz:80/` is not SERVICE:PORT/PATH: it has a scheme, which is not needed
          hint: for example baz:80/foo/bar, baz:http/, or baz:9090/demo.Baz/GetInfo
        `x` is not a header: write 'name: value'
          hint: -
        ");
    }

    #[test]
    fn an_answer_is_shown_as_curl_would() {
        let request = parse(&["baz:9090/demo.Baz/GetInfo"]).unwrap();
        insta::assert_snapshot!(text(&request, &good()), @r#"
        HTTP 200 OK
        content-type: application/grpc

        {"hostname":"baz-5d9c-x2x4z"}

        grpc-status: 0

        gRPC 0 OK
        from baz-5d9c-x2x4z in 1.3 ms
        "#);
        let refused = CallAnswer {
            grpc_status: Some(7),
            grpc_message: Some("unauthorized request on route".to_owned()),
            headers: pairs(&[("grpc-status", "7")]),
            trailers: Vec::new(),
            body: String::new(),
            pod: None,
            ..good()
        };
        insta::assert_snapshot!(text(&request, &refused), @r"
        HTTP 200 OK
        grpc-status: 7

        gRPC 7 PERMISSION_DENIED: unauthorized request on route
        after 1.3 ms
        ");
        let none = CallAnswer { error: Some("refused".to_owned()), ..CallAnswer::default() };
        insta::assert_snapshot!(text(&request, &none), @r"
        no answer: refused
        after 0.0 ms
        ");
    }

    #[test]
    fn many_answers_are_counted_by_pod_and_outcome() {
        let request =
            parse(&["--as", "bar", "--count", "300", "--concurrency", "20", "baz:grpc/demo.Baz/GetInfo"])
                .unwrap();
        let counts = |counts: &[(&str, u32)]| counts.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let answer = CallAnswer {
            pods: counts(&[("baz-5d9c-a", 90), ("baz-5d9c-bcdef", 120), ("baz-5d9c-g", 89)]),
            outcomes: counts(&[("error", 1), ("grpc 0", 299)]),
            ..good()
        };
        let text = text(&request, &answer);
        insta::assert_snapshot!(text.split("\nThe last").next().unwrap(), @r"
        300 requests to baz:grpc/demo.Baz/GetInfo as bar, 20 at once

        POD             ANSWERS  SHARE
        baz-5d9c-bcdef      120   40 %
        baz-5d9c-a           90   30 %
        baz-5d9c-g           89   30 %

        OUTCOME  REQUESTS  SHARE
        grpc 0        299  100 %
        error           1    0 %
        ");
        assert!(!succeeded(&answer), "one failed");
    }

    #[test]
    fn only_good_answers_are_success() {
        assert!(succeeded(&good()));
        for bad in [
            CallAnswer { status: Some(404), grpc_status: None, ..good() },
            CallAnswer { grpc_status: Some(7), ..good() },
            CallAnswer { error: Some("broken off".to_owned()), ..good() },
            CallAnswer::default(),
        ] {
            assert!(!succeeded(&bad), "{bad:?}");
        }
    }
}
