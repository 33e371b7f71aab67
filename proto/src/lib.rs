//! The services' protobuf contract, `services.proto`, and the code generated from it at build time.

/// Messages, clients and servers of the protobuf package `demo`.
#[allow(missing_docs, clippy::pedantic)]
pub mod demo {
    tonic::include_proto!("demo");
}

/// The encoded `google.protobuf.FileDescriptorSet` of `services.proto`: what gRPC reflection serves, and
/// what a client needs to read the messages without the generated code.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services.bin"));
