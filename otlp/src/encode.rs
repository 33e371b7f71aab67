//! Spans as OTLP writes them in JSON (opentelemetry-proto 1.x, `docs/specification.md`): ids as hexadecimal digits, 64-bit
//! numbers as text.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use crate::{Kind, Resource, Span, Value};

/// The body of one request: an `ExportTraceServiceRequest`, the spans of one resource together.
pub fn encode(spans: &[Span]) -> Json {
    let mut groups: Vec<(&Arc<Resource>, Vec<Json>)> = Vec::new();
    for one in spans {
        match groups.iter_mut().find(|(resource, _)| *resource == &one.resource) {
            Some((_, group)) => group.push(span(one)),
            None => groups.push((&one.resource, vec![span(one)])),
        }
    }
    let resources = groups.into_iter().map(|(resource, spans)| {
        let attributes: Vec<Json> = resource
            .0
            .iter()
            .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
            .collect();
        json!({
            "resource": {"attributes": attributes},
            "scopeSpans": [{"scope": {"name": "cargo-xtask"}, "spans": spans}],
        })
    });
    json!({"resourceSpans": resources.collect::<Vec<_>>()})
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> =
        span.attributes.iter().map(|(key, value)| json!({"key": key, "value": any(value)})).collect();
    json!({
        "traceId": format!("{:032x}", span.context.trace),
        "spanId": format!("{:016x}", span.context.span),
        "parentSpanId": span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
        "name": span.name,
        "kind": match span.kind { Kind::Server => 2, Kind::Client => 3 },
        "startTimeUnixNano": nanos(span.start),
        "endTimeUnixNano": nanos(span.start + span.took),
        "attributes": attributes,
        "status": if span.failed { json!({"code": 2}) } else { json!({}) },
    })
}

fn any(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    }
}

fn nanos(at: SystemTime) -> String {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    #[test]
    fn spans_are_grouped_by_who_they_are_of() {
        let resource = |name: &str| Arc::new(Resource(vec![("service.name", name.to_owned())]));
        let span = |id, parent, of: &Arc<Resource>| Span {
            context: Context { trace: 10, span: id, flags: 1 },
            parent,
            resource: Arc::clone(of),
            name: "GET /".to_owned(),
            kind: Kind::Server,
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            took: Duration::from_millis(2),
            attributes: vec![("http.response.status_code", 500.into()), ("url.path", "/".into())],
            failed: parent.is_some(),
        };
        let (one, two) = (resource("foo"), resource("bar"));
        let spans = [span(1, None, &one), span(2, Some(1), &two), span(3, Some(2), &one)];
        let wanted = |id: &str, parent: &str, failed: bool| {
            json!({
                "traceId": "0000000000000000000000000000000a", "spanId": id, "parentSpanId": parent,
                "name": "GET /", "kind": 2,
                "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1002000000",
                "attributes": [
                    {"key": "http.response.status_code", "value": {"intValue": "500"}},
                    {"key": "url.path", "value": {"stringValue": "/"}},
                ],
                "status": if failed { json!({"code": 2}) } else { json!({}) },
            })
        };
        let group = |name: &str, spans: Json| {
            let attributes = json!([{"key": "service.name", "value": {"stringValue": name}}]);
            let scope = json!({"name": "cargo-xtask"});
            json!({"resource": {"attributes": attributes}, "scopeSpans": [{"scope": scope, "spans": spans}]})
        };
        let (first, second, third) = ("0000000000000001", "0000000000000002", "0000000000000003");
        let of_foo = json!([wanted(first, "", false), wanted(third, second, true)]);
        let of_bar = json!([wanted(second, first, true)]);
        assert_eq!(encode(&spans), json!({"resourceSpans": [group("foo", of_foo), group("bar", of_bar)]}));
    }
}
