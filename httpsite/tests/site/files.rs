//! Lists and orders in files.

use std::fs;

use tokio::time::{Duration, sleep, timeout};

use crate::ground::{PATIENCE, ask, start};

#[tokio::test]
async fn a_file_is_followed_and_nonsense_in_it_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, "10.0.0.1:9876\n").unwrap();
    let source = format!("nsaddr=file:{}", path.display());
    let site = start(&["--list", &source, "--overlap-seconds", "0"]).await;
    site.until_line("nsaddr", "10.0.0.1:9876").await;
    fs::write(&path, "<html>").unwrap();
    fs::write(&path, "10.0.0.1:9876;10.0.0.2:9876").unwrap();
    site.until_line("nsaddr", "10.0.0.1:9876;10.0.0.2:9876")
        .await;
    fs::write(&path, "10.0.0.2:9876").unwrap();
    site.until_line("nsaddr", "10.0.0.2:9876").await;
    site.ended().await;
}

#[tokio::test]
async fn an_override_and_a_downgrade_are_exact_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("desk");
    let desk = format!("file:{}", path.display());
    let site = start(&[
        "--list",
        "nsaddr=static:10.0.0.1:9876",
        "--list",
        "nsaddr-u1=static:10.0.0.9:9876",
        "--partner",
        "nsaddr-u1=nsaddr",
        "--desk",
        &desk,
    ])
    .await;
    fs::write(&path, "override.nsaddr=10.0.0.7:9876\n").unwrap();
    site.until_line("nsaddr", "10.0.0.7:9876").await;
    assert_eq!(site.line("nsaddr-u1").await, "10.0.0.9:9876");
    fs::write(&path, "downgrade.nsaddr-u1=ann: <room> a is dark\n").unwrap();
    site.until_line("nsaddr-u1", "10.0.0.1:9876").await;
    site.until_line("nsaddr", "10.0.0.1:9876").await;
    let page = ask(site.clients, "GET / HTTP/1.0\r\n\r\n").await.body;
    assert!(page.contains("ann: &lt;room&gt; a is dark"), "{page}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    site.until_line("nsaddr-u1", "10.0.0.9:9876").await;
    site.ended().await;
}

#[tokio::test]
async fn the_kept_list_is_there_after_a_restart_without_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let (list, keep) = (folder.path().join("list"), folder.path().join("keep"));
    fs::create_dir(&keep).unwrap();
    fs::write(&list, "10.0.0.1:9876").unwrap();
    let source = format!("nsaddr=file:{}", list.display());
    let flags = ["--list", &source, "--keep-dir", keep.to_str().unwrap()];
    let site = start(&flags).await;
    site.until_line("nsaddr", "10.0.0.1:9876").await;
    let kept = || fs::read_to_string(keep.join("nsaddr.list")).unwrap_or_default();
    while kept() != "10.0.0.1:9876\n" {
        tokio::task::yield_now().await;
    }
    site.ended().await;
    fs::remove_file(&list).unwrap();
    let site = start(&flags).await;
    site.until_line("nsaddr", "10.0.0.1:9876").await;
    let json = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n")
        .await
        .body;
    assert!(
        json.contains("\"origin\":\"disk\"") && json.contains("\"stale\":true"),
        "{json}"
    );
    site.ended().await;
}

/// Fails when a restart during an overlap begins it anew, or ends it: two replicas would then say different things for long.
#[tokio::test]
async fn a_restart_goes_on_with_an_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let (list, keep) = (folder.path().join("list"), folder.path().join("keep"));
    fs::create_dir(&keep).unwrap();
    let source = format!("nsaddr=file:{}", list.display());
    let flags = ["--list", &source, "--keep-dir", keep.to_str().unwrap()];
    let file = keep.join("nsaddr.list");
    let leaves = async || {
        let wait = async {
            loop {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let line = text.lines().find(|line| line.starts_with("# leaves "));
                if let Some(line) = line {
                    return line.to_owned();
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the overlap is kept")
    };
    let both = "10.0.0.1:9876;10.0.0.2:9876";
    fs::write(&list, both).unwrap();
    let site = start(&flags).await;
    site.until_line("nsaddr", both).await;
    fs::write(&list, "10.0.0.1:9876").unwrap();
    let before = leaves().await;
    assert!(before.starts_with("# leaves 10.0.0.2:9876 "), "{before}");
    site.ended().await;

    // As if half of it had gone by meanwhile.
    let until = before.split(' ').nth(3).unwrap();
    let until: jiff::Timestamp = until.parse().unwrap();
    let sooner = until - jiff::SignedDuration::from_secs(75);
    let shorter = format!("# leaves 10.0.0.2:9876 {sooner}");
    for (kept, listed, shown) in [
        (shorter.as_str(), both, true),
        // A clock that was wrong then.
        ("# leaves 10.0.0.2:9876 2999-01-01T00:00:00Z", both, true),
        (
            "# leaves 10.0.0.2:9876 1999-01-01T00:00:00Z",
            "10.0.0.1:9876",
            false,
        ),
    ] {
        fs::write(&file, format!("{both}\n{kept}\n")).unwrap();
        let site = start(&flags).await;
        let words = if shown {
            "\"leaving\""
        } else {
            "\"origin\":\"sources\""
        };
        let wait = async {
            loop {
                let json = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n").await;
                // Page and list are not made in the same instant.
                if json.body.contains(words) && site.line("nsaddr").await == listed {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{kept}: wanted {words} and {listed}"));
        site.ended().await;
        let text = fs::read_to_string(&file).unwrap();
        if kept == shorter {
            let again: jiff::Timestamp = text.split_whitespace().nth(4).unwrap().parse().unwrap();
            let moved = again.duration_since(sooner).abs();
            assert!(moved < jiff::SignedDuration::from_secs(5), "{kept} {text}");
        }
    }
}
