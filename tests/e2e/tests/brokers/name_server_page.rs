//! Name servers come from a page (`http://…/rocketmq/nsaddr`), and a list that changes there reaches the brokers.

use anyhow::{Context, Result, ensure};
use e2e::books::Books;
use e2e::group::{LIMIT, Lookup, counted, in_ms};
use e2e::{Case, Group, Shape, on_the_quickest};
use playground::broker::name_server_list;
use playground::clock::now;
use playground::nameserver::READY_LIMIT;
use playground::wait::until;

on_the_quickest!(a_list_that_changes_is_followed);

/// Only the page names the name servers, so a broker that is registered anywhere has heard of them there. Fails when the
/// agents do not ask again, when a running broker is not told, when its next start is made with the list of before, and when an empty page (503)
/// takes the list away from anybody.
async fn a_list_that_changes_is_followed(case: &Case) -> Result<()> {
    let shape = Shape {
        lookup: Lookup::Site,
        ..Shape::default()
    };
    let group = Group::form(case, shape).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let new = group.other(old);
    let first = group.name_server().address();
    for member in [old, new] {
        let given = name_servers(&group, member)?;
        ensure!(given == name_server_list(&[first]), "conf with {given}");
    }

    let mut second = case.ground().name_server("ns2")?;
    second.ready(READY_LIMIT).await?;
    let list = [first, second.address()];
    let changed = now();
    group.site()?.show(&list);
    for member in [old, new] {
        heard(&group, member, &name_server_list(&list)).await?;
    }
    case.say(format!("both agents know {}", in_ms(changed)));
    for member in [old, new] {
        let (contact, wanted) = (group.member(member).contact(), name_server_list(&list));
        until(
            "the running broker to have the new list",
            LIMIT,
            async || {
                let has = contact.name_servers().await?;
                ensure!(has.as_deref() == Some(&*wanted), "it has {has:?}");
                Ok(())
            },
        )
        .await?;
    }
    // Nothing sensible any more: nobody forgets what it knows.
    group.site()?.show(&[]);
    for member in [old, new] {
        heard(&group, member, "status 503").await?;
    }

    let asked = now();
    group.switch_over(new).await?;
    let after = group.serving_after(before.term.epoch).await?;
    ensure!(group.index(&after.term.master)? == new, "{:?}", after.term);
    let address = group.member(new).contact().address;
    for server in list {
        let what = format!("name server {server} to know the new master");
        until(&what, LIMIT, async || {
            let registered = group.names().registered_at(server).await?;
            let wanted = (0, address.to_string());
            ensure!(registered.contains(&wanted), "it knows {registered:?}");
            Ok(())
        })
        .await?;
    }
    case.say(format!(
        "both name servers know the new master {} after the request",
        in_ms(asked)
    ));
    group.follows(old).await?;
    for member in [old, new] {
        let given = name_servers(&group, member)?;
        ensure!(given == name_server_list(&list), "conf with {given}");
    }
    producer.accept_more(100, LIMIT).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    group.logs_are_equal(new).await
}

/// What a member's broker was started with last.
fn name_servers(group: &Group<'_>, member: usize) -> Result<String> {
    let conf = group.member(member).home().join("broker.conf");
    let text = std::fs::read_to_string(&conf);
    let text = text.with_context(|| format!("read {}", conf.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("namesrvAddr"));
    let value = line.context("find namesrvAddr in the conf")?;
    Ok(value.trim_start_matches(['=', ' ']).replace("\\:", ":"))
}

/// Waits until a member's agent has logged this.
async fn heard(group: &Group<'_>, member: usize, words: &str) -> Result<()> {
    let output = group.member(member).home().join("agent.out");
    let what = format!("{words:?} in {}", output.display());
    until(&what, LIMIT, async || {
        let text = std::fs::read_to_string(&output).context("read an agent's log")?;
        ensure!(text.contains(words), "not yet");
        Ok(())
    })
    .await
}
