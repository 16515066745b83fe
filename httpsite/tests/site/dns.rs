//! Lists from a real DNS server of our own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::dns_server::{DnsServer, Kind, NXDOMAIN, REFUSED, Record, Reply, SERVFAIL, addresses};
use crate::ground::{Site, ask, start};

/// A name is looked up every 5 s, and one look-up may take 5 s.
const FOLLOWED: Duration = Duration::from_secs(40);

const NAME: &str = "ns.rmq.test";
const OF_NAME: &str = "nsaddr=dns:ns.rmq.test:9876";
const OF_SERVICES: &str = "nsaddr=srv:_remoting._tcp.rmq.test";
const SERVICES: &str = "_remoting._tcp.rmq.test";

async fn site_of(server: &DnsServer, list: &str) -> Site {
    let address = server.address.to_string();
    start(&[
        "--list",
        list,
        "--dns-server",
        &address,
        "--overlap-seconds",
        "0",
        "--hold-seconds",
        "0",
    ])
    .await
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let mut last = String::new();
    let wait = async {
        while let Err(why) = look().await {
            last = why;
            sleep(Duration::from_millis(20)).await;
        }
    };
    let done = timeout(FOLLOWED, wait).await;
    assert!(done.is_ok(), "{what}: {last}");
}

async fn becomes(site: &Site, wanted: &str) {
    until(wanted, async || {
        let line = site.line("nsaddr").await;
        if line == wanted { Ok(()) } else { Err(line) }
    })
    .await;
}

/// The source complains with these words; the list is stale and stays as it was.
async fn is_kept(site: &Site, words: &str, line: &str) {
    until(words, async || {
        let json = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n").await;
        let json: serde_json::Value = serde_json::from_str(&json.body).unwrap();
        let fault = &json["lists"][0]["sources"][0]["fault"];
        match fault.as_str() {
            Some(fault) if fault.contains(words) => Ok(()),
            _ => Err(fault.to_string()),
        }
    })
    .await;
    assert_eq!(site.line("nsaddr").await, line);
    assert_eq!(stale(site).await, 1);
}

async fn stale(site: &Site) -> u8 {
    let metrics = ask(site.admin, "GET /metrics HTTP/1.0\r\n\r\n").await.body;
    let metric = "rocketmq_httpsite_stale{list=\"nsaddr\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric));
    line.unwrap().parse().unwrap()
}

fn service(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Service {
        priority,
        weight,
        port,
        target: target.to_owned(),
    }
}

/// Fails when a kind of address is missed, and when one that comes or goes is not followed.
#[tokio::test]
async fn both_kinds_of_addresses_are_followed_as_they_come_and_go() {
    let server = DnsServer::start().await;
    server.set(NAME, addresses(&["10.0.0.1"]));
    let site = site_of(&server, OF_NAME).await;
    becomes(&site, "10.0.0.1:9876").await;
    server.set(NAME, addresses(&["10.0.0.1", "fd00::1"]));
    becomes(&site, "10.0.0.1:9876;[fd00::1]:9876").await;
    server.set(NAME, addresses(&["fd00::1"]));
    becomes(&site, "[fd00::1]:9876").await;
    assert_eq!(stale(&site).await, 0);
    site.ended().await;
}

/// Fails when any of these changes the list, is not told, or is not got over.
#[tokio::test]
async fn an_answer_that_is_none_keeps_the_last_good_list() {
    let cases = [
        (Reply::Code(NXDOMAIN), "has no address"),
        (Reply::Records(Vec::new()), "has no address"),
        (Reply::Code(SERVFAIL), "look up"),
        (Reply::Code(REFUSED), "look up"),
        (Reply::Silence, ""),
        (Reply::Garbage, ""),
        (Reply::Stranger, ""),
    ];
    let cases = cases.map(async |(reply, words)| {
        let server = DnsServer::start().await;
        server.set(NAME, addresses(&["10.0.0.1", "10.0.0.2"]));
        let site = site_of(&server, OF_NAME).await;
        let good = "10.0.0.1:9876;10.0.0.2:9876";
        becomes(&site, good).await;
        server.set(NAME, reply);
        is_kept(&site, words, good).await;
        // The zone says that "there is none" lives for a day: nobody has so much time.
        server.set(NAME, addresses(&["10.0.0.2", "10.0.0.3"]));
        becomes(&site, "10.0.0.2:9876;10.0.0.3:9876").await;
        assert_eq!(stale(&site).await, 0);
        site.ended().await;
    });
    let [a, b, c, d, e, f, g] = cases;
    tokio::join!(a, b, c, d, e, f, g);
}

/// Fails when half an answer drives the other half out of the list; one that never was there may fail as it likes.
#[tokio::test]
async fn half_an_answer_is_none() {
    let of = |ip: &str| Record::Address(ip.parse().unwrap());
    let server = DnsServer::start().await;
    let both = vec![of("10.0.0.1"), of("fd00::1")];
    server.set(NAME, Reply::Records(both.clone()));
    let site = site_of(&server, OF_NAME).await;
    let line = "10.0.0.1:9876;[fd00::1]:9876";
    becomes(&site, line).await;
    server.set(NAME, Reply::CodeFor(Kind::Aaaa, SERVFAIL, both.clone()));
    is_kept(&site, "AAAA", line).await;
    server.set(NAME, Reply::CodeFor(Kind::A, SERVFAIL, both));
    is_kept(&site, "look up A of", line).await;
    site.ended().await;

    let server = DnsServer::start().await;
    let reply = Reply::CodeFor(Kind::Aaaa, REFUSED, vec![of("10.0.0.1")]);
    server.set(NAME, reply);
    let site = site_of(&server, OF_NAME).await;
    becomes(&site, "10.0.0.1:9876").await;
    assert_eq!(stale(&site).await, 0);
    site.ended().await;
}

/// Fails when a port or a target is lost, and when a target without an address lets the others go.
#[tokio::test]
async fn services_give_their_own_ports_and_all_their_targets() {
    let server = DnsServer::start().await;
    server.set("a.rmq.test", addresses(&["10.0.0.1", "fd00::1"]));
    server.set("b.rmq.test", addresses(&["10.0.0.2"]));
    let all = vec![
        service(10, 60, 9876, "a.rmq.test"),
        service(10, 40, 9877, "b.rmq.test"),
        service(20, 0, 9878, "b.rmq.test"),
    ];
    server.set(SERVICES, Reply::Records(all.clone()));
    let site = site_of(&server, OF_SERVICES).await;
    let line = "10.0.0.1:9876;10.0.0.2:9877;10.0.0.2:9878;[fd00::1]:9876";
    becomes(&site, line).await;
    server.set("b.rmq.test", Reply::Code(NXDOMAIN));
    is_kept(&site, "b.rmq.test", line).await;
    server.set(SERVICES, Reply::Records(all[..1].to_vec()));
    becomes(&site, "10.0.0.1:9876;[fd00::1]:9876").await;
    // More than anybody lists: not even looked up.
    let many = (0..200).map(|number| service(0, 0, 9876, &format!("t{number}.test")));
    server.set(SERVICES, Reply::Records(many.collect()));
    is_kept(
        &site,
        "200 records, at most",
        "10.0.0.1:9876;[fd00::1]:9876",
    )
    .await;
    assert_eq!(server.asked("t0.test", "udp"), 0);
    site.ended().await;
}

/// Fails when an alias is not followed to its end.
#[tokio::test]
async fn aliases_are_followed() {
    let server = DnsServer::start().await;
    for (from, to) in [(NAME, "one.test"), ("one.test", "two.test")] {
        server.set(from, Reply::Records(vec![Record::Alias(to.to_owned())]));
    }
    server.set("two.test", addresses(&["10.0.0.1", "10.0.0.2"]));
    let site = site_of(&server, OF_NAME).await;
    becomes(&site, "10.0.0.1:9876;10.0.0.2:9876").await;
    // Round in a circle.
    let back = Reply::Records(vec![Record::Alias(NAME.to_owned())]);
    server.set("two.test", back);
    is_kept(&site, "", "10.0.0.1:9876;10.0.0.2:9876").await;
    site.ended().await;
}

/// Fails when an answer that is too long for UDP is not fetched over TCP, or when thousands of records get into the list.
#[tokio::test]
async fn a_long_answer_comes_over_tcp_and_one_that_is_too_long_is_refused() {
    let server = DnsServer::start().await;
    let many = |count: u32| {
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let ips = (first..first + count).map(|ip| Record::Address(IpAddr::V4(ip.into())));
        Reply::Records(ips.collect())
    };
    server.set(NAME, many(60));
    let site = site_of(&server, OF_NAME).await;
    until("60 addresses", async || {
        let line = site.line("nsaddr").await;
        match line.split(';').count() {
            60 => Ok(()),
            _ => Err(line),
        }
    })
    .await;
    assert!(server.asked(NAME, "tcp") > 0);
    let line = site.line("nsaddr").await;
    server.set(NAME, many(3000));
    is_kept(&site, "3000 name servers are listed, at most", &line).await;
    site.ended().await;
}

/// Fails when one lost packet, or servers that are dead before one that is not, make the source fail even once.
#[tokio::test]
async fn a_lost_packet_or_dead_servers_do_no_harm() {
    let server = DnsServer::start().await;
    let record = Record::Address(IpAddr::V4([10, 0, 0, 1].into()));
    let lost = async |servers: &str| {
        let site = start(&["--list", OF_NAME, "--dns-server", servers]).await;
        let mut faults = Vec::new();
        until("the list", async || {
            let json = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n").await;
            let json: serde_json::Value = serde_json::from_str(&json.body).unwrap();
            let fault = &json["lists"][0]["sources"][0]["fault"];
            faults.extend(fault.as_str().map(str::to_owned));
            match json["lists"][0]["line"].as_str() {
                Some("10.0.0.1:9876") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(faults, Vec::<String>::new(), "{servers}");
        site.ended().await;
    };
    server.set(NAME, Reply::Lost(vec![record]));
    lost(&server.address.to_string()).await;
    let mut servers = Vec::new();
    for _ in 0..4 {
        let silent = DnsServer::start().await;
        silent.set(NAME, Reply::Silence);
        servers.push(silent.address.to_string());
    }
    servers.push(server.address.to_string());
    // Whom it asks first is chance.
    for _ in 0..4 {
        lost(&servers.join(",")).await;
    }
}
