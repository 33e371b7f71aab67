//! gRPC messages as JSON, by the descriptors that the server's reflection gives.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Uri};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tokio::sync::OnceCell;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::CallError;
use crate::connect::Client;

/// The messages of one method. Asks the server for their descriptors when they are first needed.
pub struct Messages {
    client: Client,
    authority: String,
    path: String,
    timeout: Duration,
    method: OnceCell<Result<MethodDescriptor, String>>,
}

impl Messages {
    /// The messages of the method at `path`, whose server `client` reaches.
    pub fn new(client: Client, authority: &str, path: &str, timeout: Duration) -> Self {
        let (authority, path) = (authority.to_owned(), path.to_owned());
        Self { client, authority, path, timeout, method: OnceCell::new() }
    }

    /// The request message that `json` says. Errors: it is not one, or the server has no descriptors.
    pub async fn encode(&self, json: &str) -> Result<Bytes, CallError> {
        let method = self.method().await.as_ref().map_err(|why| CallError::NoDescriptors(why.clone()))?;
        let type_ = method.input();
        let name = type_.full_name().to_owned();
        let mut json = serde_json::Deserializer::from_str(json);
        DynamicMessage::deserialize(type_, &mut json)
            .and_then(|message| json.end().map(|()| message))
            .map(|message| message.encode_to_vec().into())
            .map_err(|error| CallError::Usage(format!("the data is no {name}: {error}")))
    }

    /// The messages of an answer's body as JSON, one after the other. What cannot be decoded is shown in
    /// hexadecimal, with the reason.
    pub async fn decode(&self, body: &[u8]) -> String {
        let mut text = String::new();
        let mut rest = body;
        while let Some((message, after)) = unframe(rest) {
            rest = after;
            let decoded = match self.method().await {
                Ok(method) => json(method, message),
                Err(why) => Err(why.clone()),
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text += &decoded.unwrap_or_else(|why| undecoded(message, &why));
        }
        if !rest.is_empty() {
            text += &undecoded(rest, "not a whole gRPC message, or a compressed one");
        }
        text
    }

    async fn method(&self) -> &Result<MethodDescriptor, String> {
        self.method
            .get_or_init(|| async {
                // A stream that never answers must not use up the time of the call itself.
                let limit = self.timeout.min(Duration::from_secs(5));
                let reflected = tokio::time::timeout(limit, self.reflect()).await;
                reflected.unwrap_or_else(|_| Err("reflection did not answer".to_owned()))
            })
            .await
    }

    async fn reflect(&self) -> Result<MethodDescriptor, String> {
        let (service, method) = split_path(&self.path).ok_or("the path is not like /pkg.Service/Method")?;
        let origin: Uri = format!("http://{}", self.authority).parse().map_err(|_| "no valid authority")?;
        let mut reflection = ServerReflectionClient::with_origin((*self.client).clone(), origin);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(service.to_owned())),
        };
        let refused = |status: tonic::Status| match status.code() {
            tonic::Code::Unimplemented => "the server has no reflection".to_owned(),
            code => format!("reflection gave {code:?} {}", status.message()).trim_end().to_owned(),
        };
        let answers = reflection.server_reflection_info(tokio_stream::once(request)).await;
        let mut answers = answers.map_err(refused)?.into_inner();
        let mut files = Vec::new();
        while let Some(ServerReflectionResponse { message_response: Some(answer), .. }) =
            answers.message().await.map_err(refused)?
        {
            match answer {
                MessageResponse::FileDescriptorResponse(some) => files.extend(some.file_descriptor_proto),
                MessageResponse::ErrorResponse(error) => {
                    return Err(format!("reflection knows no {service}: {}", error.error_message));
                }
                _ => {}
            }
        }
        let method = pool(&files)?
            .get_service_by_name(service)
            .and_then(|service| service.methods().find(|m| m.name() == method));
        method.ok_or_else(|| format!("{service} has no method of the name"))
    }
}

/// All files in one set: servers give them in any order, some more than once.
fn pool(files: &[Vec<u8>]) -> Result<DescriptorPool, String> {
    let files = files.iter().map(|file| prost_reflect::prost_types::FileDescriptorProto::decode(&**file));
    let files = files.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_protos(files).map_err(|error| format!("reflection's files: {error}"))?;
    Ok(pool)
}

fn json(method: &MethodDescriptor, message: &[u8]) -> Result<String, String> {
    let message = DynamicMessage::decode(method.output(), message).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let options = prost_reflect::SerializeOptions::new().skip_default_fields(false);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}

fn undecoded(bytes: &[u8], why: &str) -> String {
    let mut hex = format!("({} bytes, not decoded: {why})", bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = write!(hex, "{}{byte:02x}", if at == 0 { " " } else { "" });
    }
    hex
}

/// `/pkg.Service/Method` in its two parts.
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let name = |name: &str| {
        name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    (name(service) && !method.contains('.') && name(method)).then_some((service, method))
}

/// A message with the five bytes before it that gRPC has: not compressed, its length.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    // Longer ones than 4 GiB do not come from a command line.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The first message of a body and what follows it; none if it is not whole or compressed.
fn unframe(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = body.split_at_checked(5)?;
    let [0, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// `grpc-message` is percent-encoded UTF-8 (gRPC over HTTP/2, Status-Message).
pub fn decode_message(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            // Two hexadecimal digits fit.
            decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
