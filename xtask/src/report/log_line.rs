//! A service's JSON log line as people read it.

use std::fmt::Write as _;

use serde_json::Value;

/// `INFO message key=value`, for a line that is a JSON object with a message; any other line as it is.
pub fn readable(line: &str) -> String {
    let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    // tracing's JSON has the message and the event's fields under `fields`.
    if let Some(Value::Object(fields)) = object.remove("fields") {
        object.extend(fields);
    }
    let Some(message) = ["message", "msg"].iter().find_map(|key| object.remove(*key)) else {
        return line.to_owned();
    };
    let level = object.remove("level").map(|v| plain(&v)).unwrap_or_default();
    for noise in ["timestamp", "time", "ts", "target", "span", "spans"] {
        object.remove(noise);
    }
    let mut text = format!("{level:<5} {}", plain(&message));
    for (key, value) in &object {
        let _ = write!(text, " {key}={}", plain(value));
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn a_tracing_line_becomes_level_message_and_fields() {
        let line =
            r#"{"timestamp":"t","level":"INFO","fields":{"message":"listening","port":8080},"target":"baz"}"#;
        assert_eq!(readable(line), "INFO  listening port=8080");
    }

    #[test]
    fn any_other_line_stays_as_it_is() {
        for line in ["plain text", "{\"no\":\"text\"}", "[1,2]", ""] {
            assert_eq!(readable(line), line);
        }
    }
}
