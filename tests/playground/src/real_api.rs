//! A real kube-apiserver with a real etcd, for one run, on loopback.
//!
//! What a production server is to our programs, without nodes and controllers: nothing makes pods run, no namespace that is
//! deleted ever goes, and no service account appears by itself. It uses some 370 MiB and is ready within 3 s.

pub mod program;

mod accounts;
mod snapshot;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use kube_access::AccessArgs;
use serde_json::json;

pub use self::snapshot::Snapshot;
use crate::ports::PortBlock;
use crate::process::{Process, ProcessSpec, Spawner};
use crate::run_dir::random_word;
use crate::timeline::Timeline;
use crate::tool;
use crate::wait::until;

/// Far more than it takes to start: the machine may be busy.
pub const READY_LIMIT: Duration = Duration::from_secs(90);

/// Three keys are made in less than a second.
const KEYS_LIMIT: Duration = Duration::from_secs(30);

/// Ports inside its block.
const SERVER: u16 = 0;
const ETCD: u16 = 1;
const ETCD_PEERS: u16 = 2;

/// What the tokens of service accounts are issued by and for.
const ISSUER: &str = "https://kubernetes.default.svc";

/// A running API server and its etcd. Dropped, both are killed.
#[derive(Debug)]
pub struct RealApi {
    program: PathBuf,
    folder: PathBuf,
    spawner: Spawner,
    ports: PortBlock,
    admin: AccessArgs,
    // The server before what it needs: dropped in this order.
    server: Option<Process>,
    etcd: Option<Process>,
}

impl RealApi {
    /// Starts both in `folder` with keys of their own. Back when the API answers.
    ///
    /// # Errors
    /// When one of them cannot be started, or the API does not answer within [`READY_LIMIT`].
    pub async fn start(
        program: &Path,
        folder: &Path,
        ports: PortBlock,
        spawner: &Spawner,
    ) -> Result<Self> {
        let url = format!("https://{}", ports.address(SERVER));
        let mut api = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            spawner: spawner.clone(),
            admin: AccessArgs {
                kube_url: Some(url),
                kube_ca_file: Some(folder.join("ca.crt")),
                kube_token_file: Some(folder.join("admin.token")),
            },
            ports,
            server: None,
            etcd: None,
        };
        api.make_keys().await?;
        api.start_etcd()?;
        api.start_server()?;
        api.ready(READY_LIMIT).await?;
        Ok(api)
    }

    /// `https://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.ports.address(SERVER))
    }

    /// How one who may do everything reaches it.
    #[must_use]
    pub fn admin(&self) -> &AccessArgs {
        &self.admin
    }

    /// A client that may do everything, with `namespace` for a default.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn client(&self, namespace: &str) -> Result<kube::Client> {
        crate::kube::client(&self.admin, namespace)
    }

    /// The kubeconfig of one who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The API server's process: to be killed, frozen, thawed. Start it again with [`Self::start_server`].
    ///
    /// # Errors
    /// When it was never started.
    pub fn server(&mut self) -> Result<&mut Process> {
        self.server
            .as_mut()
            .context("find kube-apiserver: never started")
    }

    /// etcd's process: to be killed, frozen, thawed. Start it again with [`Self::start_etcd`].
    ///
    /// # Errors
    /// When it was never started.
    pub fn etcd(&mut self) -> Result<&mut Process> {
        self.etcd.as_mut().context("find etcd: never started")
    }

    /// Starts etcd with what it had, unless it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_etcd(&mut self) -> Result<()> {
        if !self.etcd.as_mut().is_some_and(Process::is_running) {
            let spec = self.spec("etcd").arguments([
                flag("data-dir", self.etcd_folder().display()),
                flag("client-url", self.etcd_url()),
                flag(
                    "peer-url",
                    format!("http://{}", self.ports.address(ETCD_PEERS)),
                ),
            ]);
            self.etcd = Some(self.spawner.start(&spec)?);
        }
        Ok(())
    }

    /// Starts the API server, unless it runs. It answers later: see [`Self::ready`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_server(&mut self) -> Result<()> {
        if !self.server.as_mut().is_some_and(Process::is_running) {
            let file = |name: &str| self.folder.join(name).display().to_string();
            let address = self.ports.address(SERVER);
            let spec = self.spec("kube-apiserver").arguments([
                flag("etcd-servers", self.etcd_url()),
                flag("bind-address", address.ip()),
                flag("secure-port", address.port()),
                // There is no Service that leads to it.
                flag("endpoint-reconciler-type", "none"),
                flag("tls-cert-file", file("server.crt")),
                flag("tls-private-key-file", file("server.key")),
                flag("token-auth-file", file("tokens.csv")),
                flag("authorization-mode", "RBAC"),
                // A pod's service account is made by a controller, and there is none.
                flag("disable-admission-plugins", "ServiceAccount"),
                flag("service-account-issuer", ISSUER),
                flag("api-audiences", ISSUER),
                flag("service-account-key-file", file("accounts.pub")),
                flag("service-account-signing-key-file", file("accounts.key")),
                flag("service-cluster-ip-range", "10.96.0.0/16"),
            ]);
            self.server = Some(self.spawner.start(&spec)?);
        }
        Ok(())
    }

    /// Waits until the API says that it is ready, and has the namespace `default`.
    ///
    /// # Errors
    /// When it does not within `limit`, or one of the two ends: with its last words.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        let client = self.client("default")?;
        let processes = [&mut self.server, &mut self.etcd];
        let mut processes: Vec<&mut Process> = processes.into_iter().flatten().collect();
        let ready = until("kube-apiserver to be ready", limit, async || {
            for process in &mut processes {
                if !process.is_running() {
                    return Ok(Err(anyhow!(process.describe_end())));
                }
            }
            for path in ["/readyz", "/api/v1/namespaces/default"] {
                let request = hyper::Request::get(path).body(Vec::new())?;
                client.request_text(request).await?;
            }
            Ok::<_, anyhow::Error>(Ok(()))
        });
        ready.await?
    }

    /// What the server counts, as Prometheus reads it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        let text = self.client("default")?.request_text(request).await;
        text.context("read the metrics of kube-apiserver")
    }

    /// Makes etcd forget all history: watches from an older version get a 410, but only from a server that does not
    /// remember it itself; one that is restarted does not.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn compact(&self) -> Result<()> {
        let address = self.ports.address(ETCD);
        let kept = crate::http::post(address, "/v3/kv/range", &json!({"key": "AA=="})).await?;
        let revision = kept.json()?["header"]["revision"].take();
        let order = json!({"revision": revision, "physical": true});
        let answer = crate::http::post(address, "/v3/kv/compaction", &order).await?;
        ensure!(
            answer.status == 200,
            "compact etcd at {revision}: it answered {}: {}",
            answer.status,
            answer.body
        );
        Ok(())
    }

    fn etcd_folder(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    fn etcd_url(&self) -> String {
        format!("http://{}", self.ports.address(ETCD))
    }

    fn spec(&self, word: &str) -> ProcessSpec {
        let output = self.folder.join(format!("{word}.out"));
        ProcessSpec::new(word, &self.program, &self.folder, output).arguments([word])
    }

    async fn make_keys(&self) -> Result<()> {
        let spec = self
            .spec("keys")
            .arguments([flag("folder", self.folder.display())]);
        let progress = |_: &Path| "still at it".to_owned();
        tool::run(
            &self.spawner,
            &spec,
            KEYS_LIMIT,
            &Timeline::silent(),
            progress,
        )
        .await?;
        let token = [random_word()?, random_word()?, random_word()?].concat();
        self.write(
            "tokens.csv",
            &format!("{token},admin,admin,system:masters\n"),
        )?;
        self.write("admin.token", &token)?;
        self.write("kubeconfig", &self.kubeconfig_text(&token))
    }

    /// As JSON, which every reader of YAML takes.
    fn kubeconfig_text(&self, token: &str) -> String {
        let ca = self.folder.join("ca.crt");
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "real",
            "clusters": [{"name": "real", "cluster": {
                "server": self.url(), "certificate-authority": ca,
            }}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "real", "context": {
                "cluster": "real", "user": "admin", "namespace": "default",
            }}],
        })
        .to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
