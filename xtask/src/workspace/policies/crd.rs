//! What the API server takes of each kind: the fields, lengths and values of the CRDs that `linkerd install --crds` of
//! Linkerd 2.20 prints, and what Linkerd's webhook asks of single fields beyond that (`proxyProtocol`, `accessPolicy`,
//! numbers of ports and rates, labels that are strings).

use policy::access::ACCESS_POLICIES;

use super::forms::{GROUP, KIND, NAMESPACE};
use crate::workspace::schema::{
    ANY, ANY_TEXT, List, Object, Schema, Text, Unique, defaulted, field, fields, list,
};

/// An object that must have a `spec`: with these fields beside those that every object has.
macro_rules! object {
    ($($field:expr),* $(,)?) => {
        Object {
            fields: &[
                field("apiVersion", ANY_TEXT),
                field("kind", ANY_TEXT),
                field("metadata", Schema::Metadata),
                $($field),*
            ],
            required: &["metadata", "spec"],
            one_of: &[],
        }
    };
}

mod route;

pub use route::{GATEWAY_HTTP_ROUTE, GRPC_ROUTE, LINKERD_HTTP_ROUTE};

/// A kind's table.
pub struct Crd {
    pub kind: &'static str,
    pub object: Object,
}

const GROUP_NAME: Schema = Schema::Text(&Text { least: 0, most: 253, rule: Some(&GROUP) });
const KIND_NAME: Schema = Schema::Text(&Text { least: 1, most: 63, rule: Some(&KIND) });
const NAME: Schema = Schema::Text(&Text { least: 1, most: 253, rule: None });
const NAMESPACE_NAME: Schema = Schema::Text(&Text { least: 1, most: 63, rule: Some(&NAMESPACE) });
/// As the CRDs of authentications have it: any text.
const LOOSE_NAMESPACE: Schema = Schema::Text(&Text { least: 0, most: 253, rule: None });

pub const NAMESPACE_OBJECT: Crd = Crd {
    kind: "Namespace",
    object: Object {
        fields: &[
            field("apiVersion", ANY_TEXT),
            field("kind", ANY_TEXT),
            field("metadata", Schema::Metadata),
            defaulted("spec", Schema::Object(&fields(&[field("finalizers", Schema::List(&list(ANY_TEXT)))]))),
            defaulted("status", Schema::Object(&fields(&[field("phase", ANY_TEXT)]))),
        ],
        required: &["metadata"],
        one_of: &[],
    },
};

const SELECTOR: Schema = Schema::Object(&fields(&[
    field("matchLabels", Schema::Texts),
    field(
        "matchExpressions",
        Schema::List(&list(Schema::Object(&Object {
            fields: &[
                field("key", ANY_TEXT),
                field("operator", Schema::OneOf(&["In", "NotIn", "Exists", "DoesNotExist"])),
                field("values", Schema::List(&list(ANY_TEXT))),
            ],
            required: &["key", "operator"],
            one_of: &[],
        }))),
    ),
]));

pub const SERVER: Crd = Crd {
    kind: "Server",
    object: object!(field(
        "spec",
        Schema::Object(&Object {
            fields: &[
                field("podSelector", SELECTOR),
                field("externalWorkloadSelector", SELECTOR),
                field("port", Schema::IntOrText),
                defaulted(
                    "proxyProtocol",
                    Schema::OneOf(&["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"]),
                ),
                defaulted("accessPolicy", Schema::OneOf(&ACCESS_POLICIES)),
            ],
            required: &["port"],
            one_of: &["podSelector", "externalWorkloadSelector"],
        }),
    ),),
};

const LOCAL_TARGET: Schema = Schema::Object(&Object {
    fields: &[field("group", GROUP_NAME), field("kind", KIND_NAME), field("name", NAME)],
    required: &["kind", "name"],
    one_of: &[],
});

const NAMESPACED_TARGET: Schema = Schema::Object(&Object {
    fields: &[
        field("group", GROUP_NAME),
        field("kind", KIND_NAME),
        field("name", NAME),
        field("namespace", LOOSE_NAMESPACE),
    ],
    required: &["kind", "name"],
    one_of: &[],
});

pub const AUTHORIZATION_POLICY: Crd = Crd {
    kind: "AuthorizationPolicy",
    object: object!(field(
        "spec",
        Schema::Object(&Object {
            fields: &[
                field("targetRef", LOCAL_TARGET),
                field("requiredAuthenticationRefs", Schema::List(&list(NAMESPACED_TARGET))),
            ],
            required: &["targetRef", "requiredAuthenticationRefs"],
            one_of: &[],
        }),
    ),),
};

pub const MESH_TLS_AUTHENTICATION: Crd = Crd {
    kind: "MeshTLSAuthentication",
    object: object!(field(
        "spec",
        Schema::Object(&Object {
            fields: &[
                field("identities", Schema::List(&some(ANY_TEXT))),
                field("identityRefs", Schema::List(&some(NAMESPACED_TARGET))),
            ],
            required: &[],
            one_of: &["identities", "identityRefs"],
        }),
    ),),
};

/// A list of at least one item.
const fn some(items: Schema) -> List {
    List { items, least: 1, most: ANY, unique: Unique::No }
}

pub const NETWORK_AUTHENTICATION: Crd = Crd {
    kind: "NetworkAuthentication",
    object: object!(field(
        "spec",
        Schema::Object(&Object {
            fields: &[field(
                "networks",
                Schema::List(&some(Schema::Object(&Object {
                    fields: &[field("cidr", ANY_TEXT), field("except", Schema::List(&list(ANY_TEXT)))],
                    required: &["cidr"],
                    one_of: &[],
                }))),
            )],
            required: &["networks"],
            one_of: &[],
        }),
    ),),
};

/// The webhook reads a rate as an unsigned number of 32 bits and refuses 0.
const RATE: Schema = Schema::Integer(1, u32::MAX as i64);

const LIMIT: Schema = Schema::Object(&Object {
    fields: &[field("requestsPerSecond", RATE)],
    required: &["requestsPerSecond"],
    one_of: &[],
});

pub const RATE_LIMIT: Crd = Crd {
    kind: "HTTPLocalRateLimitPolicy",
    object: object!(
        field(
            "spec",
            Schema::Object(&Object {
                fields: &[
                    field("targetRef", LOCAL_TARGET),
                    field("total", LIMIT),
                    field("identity", LIMIT),
                    field("overrides", Schema::List(&list(OVERRIDE))),
                ],
                required: &["targetRef"],
                one_of: &[],
            }),
        ),
        field(
            "status",
            Schema::Object(&Object {
                fields: &[
                    field("conditions", Schema::List(&list(route::SHORT_CONDITION))),
                    field("targetRef", LOCAL_TARGET),
                ],
                required: &["targetRef"],
                one_of: &[],
            }),
        ),
    ),
};

const OVERRIDE: Schema = Schema::Object(&Object {
    fields: &[
        field("requestsPerSecond", RATE),
        field(
            "clientRefs",
            Schema::List(&list(Schema::Object(&Object {
                fields: &[
                    field("group", GROUP_NAME),
                    field("kind", KIND_NAME),
                    field("namespace", NAMESPACE_NAME),
                    field("name", NAME),
                ],
                required: &["kind", "name"],
                one_of: &[],
            }))),
        ),
    ],
    required: &["requestsPerSecond", "clientRefs"],
    one_of: &[],
});
