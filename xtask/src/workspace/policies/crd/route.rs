//! The three kinds of routes: `HTTPRoute` and `GRPCRoute` of the Gateway API, `HTTPRoute` of Linkerd.
//!
//! Longer than other files: it is a table of the schemas' fields, which is read beside the CRDs.

use super::{Crd, GROUP_NAME, KIND_NAME, NAME, NAMESPACE_NAME};
use crate::workspace::policies::forms::{DOTTED, DURATION, GO_DURATION, HEADER, HOSTNAME};
use crate::workspace::schema::{
    ANY, ANY_TEXT, Field, List, Object, Schema, Text, Unique, defaulted, field, fields, list_of,
};

const PORT: Schema = Schema::Integer(1, 65535);
const HEADER_NAME: Schema = Schema::Text(&Text { least: 1, most: 256, rule: Some(&HEADER) });
const HEADER_VALUE: Schema = Schema::Text(&Text { least: 1, most: 4096, rule: None });
const HOST: Schema = Schema::Text(&Text { least: 1, most: 253, rule: Some(&DOTTED) });
const PATH: Schema = Schema::Text(&Text { least: 0, most: 1024, rule: None });
const GATEWAY_DURATION: Schema = Schema::Text(&Text { least: 0, most: ANY, rule: Some(&DURATION) });
const LINKERD_DURATION: Schema = Schema::Text(&Text { least: 0, most: ANY, rule: Some(&GO_DURATION) });

/// A list in which every `name` is there once.
const fn by_name(items: Schema) -> List {
    List { items, least: 0, most: 16, unique: Unique::Names }
}

/// An object that must have these fields.
const fn with(required: &'static [&'static str], fields: &'static [Field]) -> Object {
    Object { fields, required, one_of: &[] }
}

const PARENT: Schema = Schema::Object(&with(
    &["name"],
    &[
        defaulted("group", GROUP_NAME),
        defaulted("kind", KIND_NAME),
        field("name", NAME),
        field("namespace", NAMESPACE_NAME),
        field("port", PORT),
        field("sectionName", HOST),
    ],
));

const PARENTS: Schema = Schema::List(&list_of(32, PARENT));

const HOSTNAMES: Schema =
    Schema::List(&list_of(16, Schema::Text(&Text { least: 1, most: 253, rule: Some(&HOSTNAME) })));

const MATCH_TYPE: Schema = Schema::OneOf(&["Exact", "RegularExpression"]);

const HEADER_MATCHES: Schema = Schema::List(&by_name(Schema::Object(&with(
    &["name", "value"],
    &[field("name", HEADER_NAME), defaulted("type", MATCH_TYPE), field("value", HEADER_VALUE)],
))));

const HEADER_CHANGES: Schema = Schema::List(&by_name(Schema::Object(&with(
    &["name", "value"],
    &[field("name", HEADER_NAME), field("value", HEADER_VALUE)],
))));

/// The Gateway API's; no header is removed twice.
const HEADER_MODIFIER: Schema = Schema::Object(&fields(&[
    field("add", HEADER_CHANGES),
    field("set", HEADER_CHANGES),
    field("remove", Schema::List(&List { items: ANY_TEXT, least: 0, most: 16, unique: Unique::Items })),
]));

const LINKERD_HEADER_MODIFIER: Schema = Schema::Object(&fields(&[
    field("add", HEADER_CHANGES),
    field("set", HEADER_CHANGES),
    field("remove", Schema::List(&list_of(16, ANY_TEXT))),
]));

const NEW_PATH: Schema = Schema::Object(&with(
    &["type"],
    &[
        field("type", Schema::OneOf(&["ReplaceFullPath", "ReplacePrefixMatch"])),
        field("replaceFullPath", PATH),
        field("replacePrefixMatch", PATH),
    ],
));

const REDIRECT: Schema = Schema::Object(&fields(&[
    field("hostname", HOST),
    field("path", NEW_PATH),
    field("port", PORT),
    field("scheme", Schema::OneOf(&["http", "https"])),
    defaulted("statusCode", Schema::Code(&[301, 302])),
]));

const REWRITE: Schema = Schema::Object(&fields(&[field("hostname", HOST), field("path", NEW_PATH)]));

const EXTENSION: Schema = Schema::Object(&with(
    &["group", "kind", "name"],
    &[field("group", GROUP_NAME), field("kind", KIND_NAME), field("name", NAME)],
));

const MIRROR: Schema = Schema::Object(&with(
    &["backendRef"],
    &[field(
        "backendRef",
        Schema::Object(&with(
            &["name"],
            &[
                defaulted("group", GROUP_NAME),
                defaulted("kind", KIND_NAME),
                field("name", NAME),
                field("namespace", NAMESPACE_NAME),
                field("port", PORT),
            ],
        )),
    )],
));

const WEIGHT: Schema = Schema::Integer(0, 1_000_000);

/// Backends whose own filters are these.
macro_rules! backends {
    ($filters:expr) => {
        Schema::List(&list_of(
            16,
            Schema::Object(&with(
                &["name"],
                &[
                    defaulted("group", GROUP_NAME),
                    defaulted("kind", KIND_NAME),
                    field("name", NAME),
                    field("namespace", NAMESPACE_NAME),
                    field("port", PORT),
                    defaulted("weight", WEIGHT),
                    field("filters", $filters),
                ],
            )),
        ))
    };
}

const GRPC_FILTERS: Schema = Schema::List(&list_of(
    16,
    Schema::Object(&with(
        &["type"],
        &[
            field(
                "type",
                Schema::OneOf(&[
                    "RequestHeaderModifier",
                    "ResponseHeaderModifier",
                    "RequestMirror",
                    "ExtensionRef",
                ]),
            ),
            field("requestHeaderModifier", HEADER_MODIFIER),
            field("responseHeaderModifier", HEADER_MODIFIER),
            field("requestMirror", MIRROR),
            field("extensionRef", EXTENSION),
        ],
    )),
));

const HTTP_FILTERS: Schema = Schema::List(&list_of(
    16,
    Schema::Object(&with(
        &["type"],
        &[
            field(
                "type",
                Schema::OneOf(&[
                    "RequestHeaderModifier",
                    "ResponseHeaderModifier",
                    "RequestMirror",
                    "RequestRedirect",
                    "URLRewrite",
                    "ExtensionRef",
                ]),
            ),
            field("requestHeaderModifier", HEADER_MODIFIER),
            field("responseHeaderModifier", HEADER_MODIFIER),
            field("requestMirror", MIRROR),
            field("requestRedirect", REDIRECT),
            field("urlRewrite", REWRITE),
            field("extensionRef", EXTENSION),
        ],
    )),
));

/// Linkerd's own route changes a response's headers for single backends only.
const LINKERD_FILTERS: Schema = Schema::List(&list_of(
    16,
    Schema::Object(&with(
        &["type"],
        &[
            field("type", Schema::OneOf(&["RequestHeaderModifier", "RequestRedirect"])),
            field("requestHeaderModifier", LINKERD_HEADER_MODIFIER),
            field("requestRedirect", REDIRECT),
        ],
    )),
));

const LINKERD_BACKEND_FILTERS: Schema = Schema::List(&list_of(
    16,
    Schema::Object(&with(
        &["type"],
        &[
            field(
                "type",
                Schema::OneOf(&["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect"]),
            ),
            field("requestHeaderModifier", LINKERD_HEADER_MODIFIER),
            field("responseHeaderModifier", LINKERD_HEADER_MODIFIER),
            field("requestRedirect", REDIRECT),
        ],
    )),
));

const METHODS: Schema =
    Schema::OneOf(&["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]);

const PATH_MATCH: Schema = Schema::Object(&fields(&[
    defaulted("type", Schema::OneOf(&["Exact", "PathPrefix", "RegularExpression"])),
    defaulted("value", PATH),
]));

/// HTTP matches whose query parameters have such names.
macro_rules! http_matches {
    ($parameter:expr) => {
        Schema::List(&list_of(
            8,
            Schema::Object(&fields(&[
                defaulted("path", PATH_MATCH),
                field("headers", HEADER_MATCHES),
                field(
                    "queryParams",
                    Schema::List(&by_name(Schema::Object(&with(
                        &["name", "value"],
                        &[
                            field("name", $parameter),
                            defaulted("type", MATCH_TYPE),
                            field("value", Schema::Text(&Text { least: 1, most: 1024, rule: None })),
                        ],
                    )))),
                ),
                field("method", METHODS),
            ])),
        ))
    };
}

const GRPC_NAME: Schema = Schema::Text(&Text { least: 0, most: 1024, rule: None });

const GRPC_MATCHES: Schema = Schema::List(&list_of(
    8,
    Schema::Object(&fields(&[
        field(
            "method",
            Schema::Object(&fields(&[
                defaulted("type", MATCH_TYPE),
                field("service", GRPC_NAME),
                field("method", GRPC_NAME),
            ])),
        ),
        field("headers", HEADER_MATCHES),
    ])),
));

const SESSION: Schema = Schema::Object(&fields(&[
    field("absoluteTimeout", GATEWAY_DURATION),
    field("idleTimeout", GATEWAY_DURATION),
    field("sessionName", Schema::Text(&Text { least: 0, most: 128, rule: None })),
    defaulted("type", Schema::OneOf(&["Cookie", "Header"])),
    field(
        "cookieConfig",
        Schema::Object(&fields(&[defaulted("lifetimeType", Schema::OneOf(&["Permanent", "Session"]))])),
    ),
]));

const CONDITION_FIELDS: &[Field] = &[
    field("lastTransitionTime", ANY_TEXT),
    field("message", ANY_TEXT),
    field("observedGeneration", Schema::Integer(0, i64::MAX)),
    field("reason", ANY_TEXT),
    field("status", Schema::OneOf(&["True", "False", "Unknown"])),
    field("type", ANY_TEXT),
];

const CONDITION: Schema =
    Schema::Object(&with(&["lastTransitionTime", "message", "reason", "status", "type"], CONDITION_FIELDS));

/// A condition of a rate limit's status.
pub const SHORT_CONDITION: Schema = Schema::Object(&with(&["status", "type"], CONDITION_FIELDS));

const STATUS: Schema = Schema::Object(&with(
    &["parents"],
    &[field(
        "parents",
        Schema::List(&list_of(
            32,
            Schema::Object(&with(
                &["controllerName", "parentRef"],
                &[
                    field("parentRef", PARENT),
                    field("controllerName", NAME),
                    field(
                        "conditions",
                        Schema::List(&List { items: CONDITION, least: 1, most: 8, unique: Unique::No }),
                    ),
                ],
            )),
        )),
    )],
));

/// A route with these rules.
macro_rules! route {
    ($rules:expr) => {
        object!(
            field(
                "spec",
                Schema::Object(&fields(&[
                    field("parentRefs", PARENTS),
                    field("hostnames", HOSTNAMES),
                    $rules,
                ])),
            ),
            field("status", STATUS),
        )
    };
}

pub const GATEWAY_HTTP_ROUTE: Crd = Crd {
    kind: "HTTPRoute",
    object: route!(defaulted(
        "rules",
        Schema::List(&list_of(
            16,
            Schema::Object(&fields(&[
                defaulted("matches", http_matches!(HEADER_NAME)),
                field("filters", HTTP_FILTERS),
                field("backendRefs", backends!(HTTP_FILTERS)),
                field(
                    "timeouts",
                    Schema::Object(&fields(&[
                        field("request", GATEWAY_DURATION),
                        field("backendRequest", GATEWAY_DURATION),
                    ])),
                ),
                field("sessionPersistence", SESSION),
            ])),
        ))
    )),
};

pub const LINKERD_HTTP_ROUTE: Crd = Crd {
    kind: "HTTPRoute",
    object: route!(defaulted(
        "rules",
        Schema::List(&list_of(
            16,
            Schema::Object(&fields(&[
                defaulted("matches", http_matches!(Schema::Text(&Text { least: 1, most: 256, rule: None }))),
                field("filters", LINKERD_FILTERS),
                field("backendRefs", backends!(LINKERD_BACKEND_FILTERS)),
                field(
                    "timeouts",
                    Schema::Object(&fields(&[
                        field("request", LINKERD_DURATION),
                        field("backendRequest", LINKERD_DURATION),
                    ])),
                ),
            ])),
        ))
    )),
};

/// The CRD lets a `GRPCRoute` be without a `spec`, which then does nothing; here it is a mistake.
pub const GRPC_ROUTE: Crd = Crd {
    kind: "GRPCRoute",
    object: route!(field(
        "rules",
        Schema::List(&list_of(
            16,
            Schema::Object(&fields(&[
                field("matches", GRPC_MATCHES),
                field("filters", GRPC_FILTERS),
                field("backendRefs", backends!(GRPC_FILTERS)),
                field("sessionPersistence", SESSION),
            ])),
        ))
    )),
};
