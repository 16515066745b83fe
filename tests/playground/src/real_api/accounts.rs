//! Who may do what: namespaces, service accounts with their Roles, tokens.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Request;
use kube_access::AccessArgs;
use serde_json::{Value, json};

use super::RealApi;

/// The namespace that our manifests name; whoever uses them puts another one in its place.
const MANIFEST_NAMESPACE: &str = "namespace: rocketmq";

/// What the tokens of a run live for.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl RealApi {
    /// Makes a namespace.
    ///
    /// # Errors
    /// When the API refuses, as it does where there is one.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"metadata": {"name": name}}).to_string();
        self.post("/api/v1/namespaces", "application/json", &namespace)
            .await
            .map(drop)
    }

    /// Creates what these manifests say (ServiceAccounts, Roles, RoleBindings, in YAML) in `namespace`.
    ///
    /// # Errors
    /// When the API refuses one of them, or it is of another kind.
    pub async fn create_manifests(&self, namespace: &str, manifests: &str) -> Result<()> {
        for manifest in documents(manifests) {
            let path = collection(manifest, namespace)?;
            let manifest = manifest.replace(MANIFEST_NAMESPACE, &format!("namespace: {namespace}"));
            self.post(&path, "application/yaml", &manifest).await?;
        }
        Ok(())
    }

    /// A token of a service account, as the kubelet gets one for a pod. It lives for `lifetime`, at least
    /// 10 minutes; one whose account was deleted is refused at once.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        lifetime: Duration,
    ) -> Result<String> {
        let spec = json!({"expirationSeconds": lifetime.as_secs()});
        self.requested(namespace, account, &spec).await
    }

    async fn requested(&self, namespace: &str, account: &str, spec: &Value) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({ "spec": spec });
        let answer = self
            .post(&path, "application/json", &request.to_string())
            .await?;
        let token = answer["status"]["token"].as_str();
        let token = token.with_context(|| format!("read the token of {account}: none came"))?;
        Ok(token.to_owned())
    }

    /// A token of a service account that is valid for a day, or until the Secret `secret`, which is made for it, is deleted.
    /// The API server remembers a valid one for 10 s.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn bound_token(
        &self,
        namespace: &str,
        account: &str,
        secret: &str,
    ) -> Result<String> {
        let wanted = json!({"metadata": {"name": secret}}).to_string();
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let made = self.post(&path, "application/json", &wanted).await?;
        let bound = json!({
            "apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made["metadata"]["uid"],
        });
        let spec = json!({"expirationSeconds": DAY.as_secs(), "boundObjectRef": bound});
        self.requested(namespace, account, &spec).await
    }

    /// Whether the API does not know who has this token (401). It remembers a valid one for 10 s.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn refuses(&self, token: &str) -> Result<bool> {
        let access = self.access_with("somebody", token)?;
        let client = crate::kube::client(&access, "default")?;
        match client.apiserver_version().await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.code == 401 => Ok(true),
            Err(error) => Err(error).context("ask who has a token"),
        }
    }

    /// How a service account reaches the API: with a token in a file of this run, which lives for a day.
    ///
    /// # Errors
    /// When the API gives no token, or the file cannot be written.
    pub async fn access_of(&self, namespace: &str, account: &str) -> Result<AccessArgs> {
        let token = self.token(namespace, account, DAY).await?;
        self.access_with(&format!("{namespace}.{account}"), &token)
    }

    /// How whoever has this token reaches it, written into a file that is called after `name`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn access_with(&self, name: &str, token: &str) -> Result<AccessArgs> {
        let file = format!("{name}.token");
        self.write(&file, token)?;
        Ok(AccessArgs {
            kube_token_file: Some(self.folder.join(file)),
            ..self.admin.clone()
        })
    }

    async fn post(&self, path: &str, content: &str, body: &str) -> Result<Value> {
        let request = Request::post(path)
            .header("content-type", content)
            .body(body.as_bytes().to_vec())
            .with_context(|| format!("write a request for {path}"))?;
        let answer = self.client("default")?.request(request).await;
        answer.with_context(|| format!("create at {path}"))
    }
}

/// The documents of a YAML text that say something.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n---\n")
        .filter(|document| document.lines().any(|line| line.starts_with("kind:")))
}

/// Where a manifest is created. The API reads the YAML; this needs no more of it than one line.
fn collection(manifest: &str, namespace: &str) -> Result<String> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let kind = manifest
        .lines()
        .find_map(|line| line.strip_prefix("kind:"))
        .map(str::trim);
    match kind {
        Some("ServiceAccount") => Ok(format!("/api/v1/namespaces/{namespace}/serviceaccounts")),
        Some("Role") => Ok(format!("{rbac}/namespaces/{namespace}/roles")),
        Some("RoleBinding") => Ok(format!("{rbac}/namespaces/{namespace}/rolebindings")),
        other => bail!(
            "create a manifest of kind {other:?}: only ServiceAccount, Role and RoleBinding are known here"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_its_place_by_its_kind() {
        let text = "# a comment\n---\napiVersion: v1\nkind: ServiceAccount\n---\nkind: Role\nmetadata: {}\n";
        let places: Vec<String> = documents(text)
            .map(|manifest| collection(manifest, "n").unwrap())
            .collect();
        assert_eq!(
            places,
            [
                "/api/v1/namespaces/n/serviceaccounts",
                "/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles"
            ]
        );
        assert!(collection("kind: Secret\n", "n").is_err());
    }
}
