//! A real browser without a window, told what to do over its DevTools pipe: JSON texts, each ended by a zero byte.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// A browser on a busy machine takes its time to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Under any of these names it is looked for in `PATH`.
const NAMES: [&str; 2] = ["chromium", "google-chrome"];

/// Set to a folder: the screenshots are kept there, for people to look at.
const SHOTS_VARIABLE: &str = "ROCKETMQ_HA_SHOTS";

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    /// CSS pixels.
    pub(crate) width: u32,
    /// CSS pixels.
    pub(crate) height: u32,
    /// What the media query `prefers-color-scheme` finds: `light` or `dark`.
    pub(crate) scheme: &'static str,
}

pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    next: u64,
    /// What it told of its own accord, oldest first.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// None, and a line that says so, where there is no browser.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = found() else {
            // Not by a macro: the test runner would hide it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no browser in PATH ({})",
                NAMES.join(", ")
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from descriptor 3 and writes to 4.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "sh"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut browser = Self {
            child,
            to,
            from: BufReader::new(from),
            session: None,
            next: 1,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Loads a page as this look wants it; what was told before is forgotten.
    pub(crate) async fn open(&mut self, url: &str, look: Look) {
        let screen = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": 1,
            "mobile": look.width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", screen)
            .await;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": look.scheme}]});
        self.call("Emulation.setEmulatedMedia", scheme).await;
        self.events.clear();
        let navigated = self.call("Page.navigate", json!({"url": url})).await;
        assert!(navigated.get("errorText").is_none(), "{navigated}");
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let event = self.read().await;
            self.events.push(event);
        }
    }

    /// What an expression is on the page, as JSON; promises are waited for.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let arguments =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", arguments).await;
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// The text of what a selector finds first, as a person sees it.
    pub(crate) async fn text(&mut self, selector: &str) -> String {
        let script = format!("document.querySelector({selector:?})?.innerText ?? ''");
        self.value(&script).await.as_str().unwrap().to_owned()
    }

    /// The addresses of all that was asked for since the page was opened.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| {
            event["params"]["request"]["url"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    }

    /// What the browser complained of since the page was opened: what its policy forbids, above all.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let told = self.events.iter().filter(|event| {
            let method = event["method"].as_str().unwrap_or_default();
            matches!(
                method,
                "Log.entryAdded" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening"
            )
        });
        told.map(Value::to_string).collect()
    }

    /// The whole page as a picture, PNG in base64; kept where [`SHOTS_VARIABLE`] says so.
    pub(crate) async fn shot(&mut self, name: &str) -> String {
        let arguments = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", arguments).await;
        let picture = answer["data"].as_str().unwrap().to_owned();
        if let Some(folder) = env::var_os(SHOTS_VARIABLE) {
            let path = Path::new(&folder).join(format!("{name}.png"));
            std::fs::write(path, bytes_of(&picture)).unwrap();
        }
        picture
    }

    /// How many colours a picture has, and how bright it is on average (0 to 255). Leaves the page.
    pub(crate) async fn colours(&mut self, picture: &str) -> (u64, f64) {
        self.call("Page.navigate", json!({"url": "about:blank"}))
            .await;
        let script = format!(
            "(async () => {{
                const image = new Image();
                image.src = 'data:image/png;base64,{picture}';
                await image.decode();
                const canvas = new OffscreenCanvas(image.width, image.height);
                const context = canvas.getContext('2d');
                context.drawImage(image, 0, 0);
                const dots = context.getImageData(0, 0, image.width, image.height).data;
                const seen = new Set();
                let sum = 0;
                for (let at = 0; at < dots.length; at += 4) {{
                    seen.add(dots[at] << 16 | dots[at + 1] << 8 | dots[at + 2]);
                    sum += (dots[at] + dots[at + 1] + dots[at + 2]) / 3;
                }}
                return [seen.size, sum / (dots.length / 4)];
            }})()"
        );
        let found = self.value(&script).await;
        (found[0].as_u64().unwrap(), found[1].as_f64().unwrap())
    }

    /// Ends it in order, so that none of its helpers stays.
    pub(crate) async fn end(mut self) {
        self.session = None;
        self.send("Browser.close", json!({})).await;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the browser ends").unwrap();
    }

    async fn call(&mut self, method: &str, arguments: Value) -> Value {
        let id = self.send(method, arguments).await;
        loop {
            let mut message = self.read().await;
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    async fn send(&mut self, method: &str, arguments: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut message = json!({"id": id, "method": method, "params": arguments});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let text = format!("{message}\0");
        self.to.write_all(text.as_bytes()).await.unwrap();
        id
    }

    async fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.from.read_until(0, &mut bytes)).await;
        read.expect("the browser answers").unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser is gone");
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn found() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut programs = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    programs.find(|program| program.is_file())
}

/// Base64 with padding.
fn bytes_of(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let joined = four.iter().fold(0, |all, byte| (all << 6) | digit(*byte));
        let joined = joined << (6 * (4 - four.len()));
        bytes.extend_from_slice(&joined.to_be_bytes()[1..four.len()]);
    }
    bytes
}
