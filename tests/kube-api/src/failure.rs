//! What a request is refused with: Kubernetes' `Status`, word for word where clients look at it.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::kind::Kind;

/// A refused request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    /// Empty where the real server gives none.
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// As clients read it, in a body or in a watch's ERROR event.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(json!({}))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let code = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(code, "MethodNotAllowed", message).with_details(json!({}))
    }

    pub(crate) fn unsupported_media(message: impl Into<String>) -> Self {
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code, "UnsupportedMediaType", message)
    }

    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        let code = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(code, "RequestEntityTooLarge", message)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(details(kind, name))
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(details(kind, name))
    }

    /// Somebody else wrote first.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.resource();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details(kind, name))
    }

    /// A deletion whose precondition does not hold. (The kind, not the resource, is the real server's habit here.)
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let subject = subject(kind);
        let message = format!("Operation cannot be fulfilled on {subject} \"{name}\": {why}");
        let mut details = details(kind, name);
        details["kind"] = kind.kind.into();
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details)
    }

    /// `reason` is one of Kubernetes' words for a cause: `FieldValueInvalid`, `FieldValueRequired` …
    pub(crate) fn invalid(
        kind: &Kind,
        name: &str,
        field: &str,
        reason: &'static str,
        why: &str,
    ) -> Self {
        let subject = subject(kind);
        let message = format!("{subject} \"{name}\" is invalid: {field}: {why}");
        let cause = json!([{"reason": reason, "message": why, "field": field}]);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(json!({
            "name": name, "group": kind.group, "kind": kind.kind, "causes": cause,
        }))
    }

    /// The same for the result of a patch: what no object can be made of is the patch's fault, and a 422.
    pub(crate) fn in_a_patch(self) -> Self {
        if self.code != StatusCode::BAD_REQUEST {
            return self;
        }
        let message = format!("Invalid value: {}", self.message);
        let cause = json!([{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]);
        Self::unprocessable(format!(" \"\" is invalid: patch: {message}"))
            .with_details(json!({"causes": cause}))
    }

    /// What a real server answers when it did not think of a case: a 500 without a reason.
    pub(crate) fn unforeseen(why: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", why)
    }

    /// What a test asked for; a number that is no HTTP status counts as 500.
    pub(crate) fn injected(code: u16) -> Self {
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = match code {
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::GATEWAY_TIMEOUT => "Timeout",
            _ => "",
        };
        Self::new(code, reason, "the test server was told to refuse this")
    }

    /// A JSON patch whose `test` failed, or that does not fit the object.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// History before `oldest` is gone.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// A version that this server has not reached.
    pub(crate) fn from_the_future(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }))
    }
}

fn subject(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.kind.to_owned()
    } else {
        format!("{}.{}", kind.kind, kind.group)
    }
}

fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.plural});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    details
}
