//! Where name servers are named: each source is a task that says a [`Word`] whenever it changes.

pub mod configmap;
pub mod dns;
pub mod file;
pub(crate) mod listener;
pub mod slices;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::change::Word;
use crate::name_server::{HostNames, MAX_SERVERS, ServerError, ServerSet, parse_servers};

/// One source as the operator named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `static:10.0.0.1:9876;10.0.0.2:9876`
    Static(ServerSet),
    /// `file:/etc/httpsite/nsaddr`
    File(PathBuf),
    /// `configmap:namespace/name/key`
    ConfigMap {
        /// Which ConfigMap.
        object: Object,
        /// Which key of its data.
        key: String,
    },
    /// `service:namespace/name:port`, or `endpointslices:namespace/label=value,…:port`
    Slices {
        /// Where.
        namespace: String,
        /// Which EndpointSlices.
        labels: String,
        /// Which of their ports.
        port: SlicePort,
    },
    /// `dns:name:9876`: A and AAAA records
    Dns {
        /// The name.
        name: String,
        /// The port of every address.
        port: u16,
    },
    /// `srv:_remoting._tcp.name`: SRV records, and the addresses of their targets
    Srv {
        /// The name.
        name: String,
    },
}

/// A namespaced object; without a namespace it is our own pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Empty: ours.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlicePort {
    /// By its name.
    Named(String),
    /// By its number.
    Number(u16),
}

/// Why a text is no source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// No such kind.
    #[error(
        "{0:?} is no source; give static:, file:, configmap:, service:, endpointslices:, dns: or srv: and what belongs to it"
    )]
    Kind(String),
    /// The part behind the kind.
    #[error("{text:?} is no {kind} source; write it like {example}")]
    Shape {
        /// Which kind.
        kind: &'static str,
        /// What was given.
        text: String,
        /// How it should look.
        example: &'static str,
    },
    /// A static list with something wrong in it.
    #[error("a static list: {0}")]
    Static(ServerError),
}

impl Source {
    /// Reads `kind:rest`.
    ///
    /// # Errors
    /// [`SourceError`], with an example of what is right.
    pub fn parse(text: &str, names: HostNames) -> Result<Self, SourceError> {
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| SourceError::Kind(text.to_owned()))?;
        match kind {
            "static" => match parse_servers(rest, names).map_err(SourceError::Static)? {
                empty if empty.is_empty() => {
                    Err(shape("static", rest, "static:10.0.0.1:9876;10.0.0.2:9876"))
                }
                servers => Ok(Self::Static(servers)),
            },
            "file" if rest.is_empty() => Err(shape("file", rest, "file:/etc/httpsite/nsaddr")),
            "file" => Ok(Self::File(PathBuf::from(rest))),
            "configmap" => config_map(rest)
                .ok_or_else(|| shape("configmap", rest, "configmap:namespace/name/key")),
            "service" => {
                service(rest).ok_or_else(|| shape("service", rest, "service:namespace/name:9876"))
            }
            "endpointslices" => slices(rest).ok_or_else(|| {
                shape(
                    "endpointslices",
                    rest,
                    "endpointslices:namespace/app=namesrv:9876",
                )
            }),
            "dns" => dns(rest).ok_or_else(|| shape("dns", rest, "dns:namesrv.example.org:9876")),
            "srv" if is_dns_name(rest) => Ok(Self::Srv {
                name: rest.to_owned(),
            }),
            "srv" => Err(shape("srv", rest, "srv:_remoting._tcp.namesrv.example.org")),
            _ => Err(SourceError::Kind(text.to_owned())),
        }
    }

    /// The kind's word, for metrics and the status page.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::File(_) => "file",
            Self::ConfigMap { .. } => "configmap",
            Self::Slices { .. } => "endpointslices",
            Self::Dns { .. } => "dns",
            Self::Srv { .. } => "srv",
        }
    }

    /// Whether it needs a Kubernetes API server.
    pub const fn needs_kubernetes(&self) -> bool {
        matches!(self, Self::ConfigMap { .. } | Self::Slices { .. })
    }
}

fn shape(kind: &'static str, text: &str, example: &'static str) -> SourceError {
    SourceError::Shape {
        kind,
        text: text.to_owned(),
        example,
    }
}

impl Object {
    /// Reads `namespace/name` or `name`.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        let sound = is_label(name) && (namespace.is_empty() || is_label(namespace));
        sound.then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn config_map(text: &str) -> Option<Source> {
    let (object, key) = text.rsplit_once('/')?;
    let object = Object::parse(object)?;
    (!key.is_empty()).then(|| Source::ConfigMap {
        object,
        key: key.to_owned(),
    })
}

fn service(text: &str) -> Option<Source> {
    let (object, port) = text.rsplit_once(':')?;
    let Object { namespace, name } = Object::parse(object)?;
    Some(Source::Slices {
        namespace,
        labels: format!("kubernetes.io/service-name={name}"),
        port: slice_port(port)?,
    })
}

fn slices(text: &str) -> Option<Source> {
    let (object, port) = text.rsplit_once(':')?;
    // A label's key may have a slash of its own: the namespace ends at the first one before any '='.
    let (namespace, labels) = match object.split_once('/') {
        Some((namespace, labels)) if !namespace.contains('=') && labels.contains('=') => {
            (namespace, labels)
        }
        _ => ("", object),
    };
    let sound = labels.contains('=') && (namespace.is_empty() || is_label(namespace));
    let port = slice_port(port)?;
    sound.then(|| Source::Slices {
        namespace: namespace.to_owned(),
        labels: labels.to_owned(),
        port,
    })
}

fn slice_port(text: &str) -> Option<SlicePort> {
    match text.parse::<u16>() {
        Ok(0) => None,
        Ok(number) => Some(SlicePort::Number(number)),
        Err(_) => is_label(text).then(|| SlicePort::Named(text.to_owned())),
    }
}

fn dns(text: &str) -> Option<Source> {
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (is_dns_name(name) && name.parse::<IpAddr>().is_err()).then(|| Source::Dns {
        name: name.to_owned(),
        port,
    })
}

fn is_label(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

fn is_dns_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Where a source says its words.
#[derive(Clone, Debug)]
pub struct Voice {
    name: String,
    word: watch::Sender<Word>,
    bell: Arc<Notify>,
}

impl Voice {
    /// A voice called `name` in logs; `bell` rings at every change.
    pub fn new(name: String, bell: Arc<Notify>) -> (Self, watch::Receiver<Word>) {
        let (word, words) = watch::channel(Word::default());
        (Self { name, word, bell }, words)
    }

    /// These are all name servers.
    pub fn say(&self, servers: ServerSet) {
        if servers.len() > MAX_SERVERS {
            return self.complain(ServerError::TooMany(servers.len()).to_string());
        }
        let changed = self.word.send_if_modified(|word| {
            let same = word.fault.is_none() && word.servers.as_ref() == Some(&servers);
            if !same {
                info!(
                    source = self.name,
                    servers = servers.len(),
                    "a source's word changed"
                );
                word.servers = Some(servers);
                word.fault = None;
            }
            !same
        });
        if changed {
            self.bell.notify_one();
        }
    }

    /// It cannot be known now; the last word stays.
    pub fn complain(&self, fault: String) {
        let changed = self.word.send_if_modified(|word| {
            let same = word.fault.as_ref() == Some(&fault);
            if !same {
                warn!(
                    source = self.name,
                    fault,
                    known = word.servers.is_some(),
                    "a source fails"
                );
                word.fault = Some(fault);
            }
            !same
        });
        if changed {
            self.bell.notify_one();
        }
    }

    /// Says what was read, or complains.
    pub fn tell<E: std::fmt::Display>(&self, read: Result<ServerSet, E>) {
        match read {
            Ok(servers) => self.say(servers),
            Err(error) => self.complain(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Source, SourceError> {
        Source::parse(text, HostNames::Refused)
    }

    #[test]
    fn every_kind_is_read() {
        assert!(matches!(
            parse("static:10.0.0.1:9876"),
            Ok(Source::Static(_))
        ));
        assert_eq!(parse("file:/a/b"), Ok(Source::File("/a/b".into())));
        let object = |namespace: &str, name: &str| Object {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(
            parse("configmap:ns/cm/key.txt"),
            Ok(Source::ConfigMap {
                object: object("ns", "cm"),
                key: "key.txt".to_owned()
            })
        );
        assert_eq!(
            parse("configmap:cm/key"),
            Ok(Source::ConfigMap {
                object: object("", "cm"),
                key: "key".to_owned()
            })
        );
        assert_eq!(
            parse("service:ns/namesrv:remoting"),
            Ok(Source::Slices {
                namespace: "ns".to_owned(),
                labels: "kubernetes.io/service-name=namesrv".to_owned(),
                port: SlicePort::Named("remoting".to_owned())
            })
        );
        assert_eq!(
            parse("endpointslices:ns/app.kubernetes.io/name=a,b=c:9876"),
            Ok(Source::Slices {
                namespace: "ns".to_owned(),
                labels: "app.kubernetes.io/name=a,b=c".to_owned(),
                port: SlicePort::Number(9876)
            })
        );
        assert!(matches!(
            parse("dns:a.b:9876"),
            Ok(Source::Dns { port: 9876, .. })
        ));
        assert!(matches!(parse("srv:_r._tcp.a"), Ok(Source::Srv { .. })));
    }

    #[test]
    fn what_is_wrong_is_refused_with_an_example() {
        for text in [
            "static:",
            "file:",
            "configmap:a",
            "configmap:a/",
            "service:a",
            "service:a:0",
            "endpointslices:ns/app:9876",
            "dns:a",
            "dns:a:0",
            "dns:10.0.0.1:9",
            "srv:",
            "srv:a b",
            "http://x",
            "10.0.0.1:9876",
            "",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains("like") || error.contains("give static:"),
                "{text}: {error}"
            );
        }
    }
}
