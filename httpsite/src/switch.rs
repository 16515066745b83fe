//! The downgrade switch as an admin call: it writes the order into the operator's ConfigMap, where every replica reads it.
//!
//! `PUT /downgrade/<list>` with `Authorization: Bearer <token>` and a body `who: why`; `DELETE` ends it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube_access::{ApiCounter, chain};
use serde_json::json;
use serve::Peer;
use serve::answer::{self, Answer};
use tracing::{error, warn};

use crate::desk::PREFIX;
use crate::list_name::ListName;
use crate::source::configmap::LIMIT;

/// The shortest token that is taken for one, bytes.
const MIN_TOKEN: usize = 16;

/// Where orders are written, and who may.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The ConfigMap's namespace.
    pub api: Api<ConfigMap>,
    /// Its name.
    pub name: String,
    /// Counts.
    pub counter: ApiCounter,
    /// A file with the token, read at every call so that it can be renewed.
    pub token_file: Arc<PathBuf>,
    /// Lists that have a partner.
    pub lists: Arc<Vec<ListName>>,
}

impl Switch {
    /// Obeys, if it may.
    pub async fn answer(&self, list: &str, request: &Request<Bytes>) -> Answer {
        let given = request.headers().get(AUTHORIZATION);
        let given = given.map(hyper::header::HeaderValue::as_bytes);
        let peer = request
            .extensions()
            .get::<Peer>()
            .map(|peer| peer.0.to_string());
        if !self.may(given.unwrap_or_default()) {
            warn!(
                audit = "DowngradeRefused",
                list, peer, "a call without the token"
            );
            return answer::text(StatusCode::UNAUTHORIZED, "the token is missing or wrong\n");
        }
        if !self.lists.iter().any(|known| known.as_str() == list) {
            return answer::text(
                StatusCode::NOT_FOUND,
                "no list of this name has a partner\n",
            );
        }
        let said = match *request.method() {
            Method::PUT | Method::POST => {
                let said = String::from_utf8_lossy(request.body());
                let said = said.trim();
                if said.is_empty() || said.len() > 500 || said.contains(char::is_control) {
                    return answer::text(
                        StatusCode::BAD_REQUEST,
                        "say who and why in one line, such as: ann: room a is dark\n",
                    );
                }
                Some(said.to_owned())
            }
            Method::DELETE => None,
            _ => return answer::method_not_allowed("PUT, DELETE"),
        };
        warn!(audit = "DowngradeCall", list, peer, said, method = %request.method(), "a call at the switch");
        self.write(list, said).await
    }

    async fn write(&self, list: &str, said: Option<String>) -> Answer {
        let key = format!("{PREFIX}downgrade.{list}");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: said}}}));
        let params = PatchParams::default();
        let request = self.api.patch(&self.name, &params, &patch);
        match self
            .counter
            .call("patch", "configmaps", LIMIT, request)
            .await
        {
            Ok(_) => answer::text(StatusCode::OK, "written\n"),
            Err(failed) => {
                error!(list, error = %chain(&failed), "the order could not be written into the ConfigMap");
                answer::text(
                    StatusCode::BAD_GATEWAY,
                    format!("write it into ConfigMap {}: {failed}\n", self.name),
                )
            }
        }
    }

    fn may(&self, header: &[u8]) -> bool {
        let Ok(token) = fs::read(&*self.token_file) else {
            return false;
        };
        let token = token.trim_ascii();
        let given = header
            .strip_prefix(b"Bearer ")
            .unwrap_or_default()
            .trim_ascii();
        token.len() >= MIN_TOKEN && is_same(token, given)
    }
}

/// In a time that does not tell how much is right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
