//! Lists and orders in files.

use std::fs;

use crate::ground::{ask, start};

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
