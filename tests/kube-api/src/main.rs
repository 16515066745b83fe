//! The in-memory Kubernetes API as a program: `kube-api [--listen ADDRESS:PORT]`. It prints its URL and serves until it
//! is ended.

use std::env;
use std::future::pending;
use std::process::ExitCode;

use kube_api::{KubeApi, Options};

const USAGE: &str = "usage: kube-api [--listen ADDRESS:PORT]   (default 127.0.0.1:0, a free port)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let bind = options.bind;
    match KubeApi::start(options).await {
        Ok(api) => {
            eprintln!("{}", api.url());
            pending().await
        }
        Err(error) => {
            eprintln!("listen on {bind}: {error}; choose another address with --listen");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Option<Options> {
    let mut arguments = env::args().skip(1);
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (None, _, _) => Some(Options::default()),
        (Some("--listen"), Some(address), None) => Some(Options {
            bind: address.parse().ok()?,
            ..Options::default()
        }),
        _ => None,
    }
}
