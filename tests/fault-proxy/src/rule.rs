//! Which requests are broken, how, and when.

use std::time::Duration;

use hyper::{Method, Uri};

/// Requests. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Only with this method.
    pub method: Option<Method>,
    /// Only with this text somewhere in path and query, as they are sent: `/leases/rmq-`, `watch=true`.
    pub part: Option<String>,
    /// Only without this text there.
    pub without: Option<String>,
}

impl Which {
    /// Watches of everything.
    #[must_use]
    pub fn watches() -> Self {
        Self {
            part: Some("watch=true".to_owned()),
            ..Self::default()
        }
    }

    /// Requests with this method and this text in path and query.
    #[must_use]
    pub fn of(method: Method, part: &str) -> Self {
        Self {
            method: Some(method),
            part: Some(part.to_owned()),
            ..Self::default()
        }
    }

    pub(crate) fn fits(&self, method: &Method, uri: &Uri) -> bool {
        let text = uri.path_and_query().map_or("", |path| path.as_str());
        self.method.as_ref().is_none_or(|only| only == method)
            && self.part.as_ref().is_none_or(|part| text.contains(part))
            && self
                .without
                .as_ref()
                .is_none_or(|part| !text.contains(part))
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out after this time.
    Delay(Duration),
    /// It is not carried out, and answered with this status and, where given, `Retry-After` in seconds: 401, 403, 429, 5xx.
    Refuse {
        /// The HTTP status.
        code: u16,
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// It is carried out, and answered with this status all the same: a 409 after a commit that went through.
    RefuseAfterCommit(u16),
    /// It is neither carried out nor answered as long as the rule is there; then its connection is cut.
    Hang,
    /// It is not carried out; its connection is cut.
    Cut,
    /// It is carried out; its connection is cut before a byte of the answer.
    LoseReply,
    /// It is carried out; its connection is cut after so many bytes of the answer's body.
    Truncate(usize),
    /// A watch says nothing from its beginning on, for as long as the rule is there; then its connection is cut.
    Silence,
    /// Of a watch the next so many events are left out, bookmarks included.
    Gap(usize),
    /// A watch is answered with one ERROR event that carries a 410, and its end.
    Gone,
    /// A read is answered with what the first one of its kind (same path and query) was answered under this rule.
    Stale,
}

/// When a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Until it is withdrawn.
    Always,
    /// For so many requests.
    Times(u32),
    /// On and off for this time each, beginning with on.
    Flapping(Duration),
}

/// What a test wants broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which requests.
    pub which: Which,
    /// How.
    pub fault: Fault,
    /// When.
    pub when: When,
}

impl Rule {
    /// Until it is withdrawn.
    #[must_use]
    pub fn always(which: Which, fault: Fault) -> Self {
        Self {
            which,
            fault,
            when: When::Always,
        }
    }

    /// For the next request.
    #[must_use]
    pub fn once(which: Which, fault: Fault) -> Self {
        Self {
            which,
            fault,
            when: When::Times(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_method_and_text() {
        let uri: Uri = "/apis/x/leases/l?watch=true".parse().unwrap();
        assert!(Which::default().fits(&Method::GET, &uri));
        assert!(Which::watches().fits(&Method::GET, &uri));
        assert!(Which::of(Method::GET, "/leases/").fits(&Method::GET, &uri));
        assert!(!Which::of(Method::PUT, "/leases/").fits(&Method::GET, &uri));
        assert!(!Which::of(Method::GET, "/pods").fits(&Method::GET, &uri));
        let reads = Which {
            without: Some("watch=true".to_owned()),
            ..Which::default()
        };
        assert!(!reads.fits(&Method::GET, &uri));
    }
}
