use std::path::Path;

use super::*;
use crate::workspace::yaml;

const THING: Object = Object {
    fields: &[
        field("name", Schema::Text(&Text { least: 1, most: 3, rule: None })),
        defaulted("kind", Schema::OneOf(&["Big", "Small"])),
        field("count", Schema::Integer(1, 5)),
        field("code", Schema::Code(&[301, 302])),
        field("port", Schema::IntOrText),
        field("labels", Schema::Texts),
        field("names", Schema::List(&List { items: ANY_TEXT, least: 1, most: 2, unique: Unique::Items })),
        field("left", ANY_TEXT),
        field("right", ANY_TEXT),
    ],
    required: &["name"],
    one_of: &["left", "right"],
};

fn said(text: &str) -> String {
    let (roots, problems) = yaml::documents(Path::new("t.yaml"), text);
    assert_eq!(problems, []);
    let mistakes = check("Thing", &roots[0], &THING);
    let lines = mistakes.iter().map(|(at, message)| format!("{}:{} {message}", at.line, at.column));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_fits_is_no_mistake() {
    let full =
        "{name: abc, kind: Big, count: 5, code: 302, port: http, labels: {a: b}, names: [a, b], left: x}";
    assert_eq!(said(full), "");
    assert_eq!(said("{name: a, kind: null, count: 5.0, port: 80, right: x}"), "", "as JSON has it");
}

#[test]
fn what_does_not_fit_is_told_where_it_is() {
    insta::assert_snapshot!(said("{nmae: a, left: x}"), @r#"1:2 unknown field "nmae" in Thing; did you mean "name"?"#);
    insta::assert_snapshot!(said("{}"), @r#"
    1:1 missing field "name" in Thing; add it
    1:1 missing field "left" or "right" in Thing; add one of them
    "#);
    insta::assert_snapshot!(said("{name: a, left: x, right: y}"), @r#"
    1:27 wrong type in Thing.right: expected a string, found the boolean y; put it in quotes: "y"
    1:20 "left" and "right" exclude each other in Thing; remove one
    "#);
    insta::assert_snapshot!(said("{name: abcd, kind: Bigg, count: 6, code: 307, port: 1.5, labels: {a: 1}, names: [a, a, b], left: null}"), @r#"
    1:8 "abcd..." has 4 characters in Thing.name; at most 3
    1:20 unknown value "Bigg" in Thing.kind; did you mean "Big"?
    1:33 6 is out of range in Thing.count; it must be from 1 to 5
    1:42 unknown value 307 in Thing.code; known: 301, 302
    1:53 wrong type in Thing.port: expected a port number or a port name, found the number 1.5
    1:70 wrong type in Thing.labels.a: expected a string, found the integer 1; put it in quotes: "1"
    1:81 3 items in Thing.names; there may be at most 2
    1:85 duplicate "a" in Thing.names, first on line 1; remove one
    1:98 wrong type in Thing.left: expected a string, found nothing; write "" if it is to be empty
    "#);
    insta::assert_snapshot!(said("{name: \"\", count: \"1\", names: [], labels: [], left: x}"), @r#"
    1:8 empty string in Thing.name; write one
    1:19 wrong type in Thing.count: expected an integer, found the string "1"; remove the quotes
    1:31 0 items in Thing.names; there must be at least 1
    1:43 wrong type in Thing.labels: expected a mapping, found a list
    "#);
    insta::assert_snapshot!(said("{name: a, name: b, left: x}"), @r#"1:11 duplicate key "name" in Thing, first on line 1; remove one"#);
    insta::assert_snapshot!(said("[]"), @"1:1 wrong type in Thing: expected a mapping, found a list");
}
