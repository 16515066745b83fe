//! What stock Java clients see of a fail-over, a rejoin and a switchover.
//!
//! Every kind of producer and consumer is at work through all three. Asserted is what RocketMQ promises and this product
//! must keep ([`account`]); told, as rows of a table, is what it costs each kind ([`table`]).
//!
//! `cargo test --package e2e --test clients -- --test-threads=1 --nocapture`

mod account;
mod crowd;
mod heard;
mod table;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Shape, on_each_version};
use playground::broker::READY_LIMIT;
use playground::rocketmq::Generation;
use playground::wait::until;
use playground::{Broker, BrokerSpec, Contact, Role};
use remoting::calls::{CreateTopic, GetTopics, Permission};

use crate::account::settle;
use crate::crowd::Crowd;
use crate::table::{Phase, rows, settled};

on_each_version!(one_group, two_groups, one_group_tuned);

const TOPICS: [&str; 4] = [
    "clients-plain",
    "clients-ordered",
    "clients-delayed",
    "clients-transaction",
];

/// Messages of every client before and after each event.
const SOME: usize = 10;

/// An answer may be told so long after it came, ms. No fail-over is as quick.
const TOLD_LATE: u64 = 1000;

async fn one_group(case: &Case) -> Result<()> {
    play(case, false, false).await
}

/// Another master, not ours, serves the same topics: clients can turn to it.
async fn two_groups(case: &Case) -> Result<()> {
    play(case, true, false).await
}

/// The settings that README recommends.
async fn one_group_tuned(case: &Case) -> Result<()> {
    play(case, false, true).await
}

async fn play(case: &Case, beside: bool, tuned: bool) -> Result<()> {
    let settings = settings();
    let shape = Shape {
        settings: settings.clone(),
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let other = match beside {
        false => None,
        true => Some(another(case, &group, settings).await?),
    };
    let old = group.master().await?;
    let new = group.other(old);
    topics(&group.member(old).contact()).await?;
    // A client that starts without a topic's route waits 30 s for the next one.
    until("the topics' routes", LIMIT, async || {
        for topic in TOPICS {
            group.names().master(topic).await?;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    // A slave copies its master's topics every 10 s, of 5.x every 60 s. A new master that lacks them serves nobody.
    let slave = group.member(new).contact();
    until("the topics to be on the slave", LIMIT, async || {
        let there = slave.ask(&GetTopics).await?.topics;
        for topic in TOPICS {
            ensure!(there.contains_key(topic), "{topic} is not there");
        }
        Ok(())
    })
    .await?;
    let names: Vec<String> = group
        .names()
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let timer = case.ground().version().generation() == Generation::Five;
    let mut crowd = Crowd::start(case, &names.join(";"), timer, tuned).await?;
    let address =
        |group: &Group<'_>, index: usize| group.member(index).contact().address.to_string();
    crowd.at_work(0, &address(&group, old), SOME).await?;

    let safe = crowd.heard()?.now;
    group.replicated(old).await?;
    let before = group.lease().await?;
    let failed_over = crowd.heard()?.now;
    group.member_mut(old).kill().await?;
    group.serving_after(before.term.epoch).await?;
    crowd.order("resolve")?;
    crowd
        .at_work(failed_over + TOLD_LATE, &address(&group, new), SOME)
        .await?;

    let rejoined = crowd.heard()?.now;
    group.member_mut(old).start()?;
    group.follows(old).await?;
    crowd.at_work(rejoined, &address(&group, new), SOME).await?;

    let switched = crowd.heard()?.now;
    group.switch_over(old).await?;
    crowd.at_work(switched, &address(&group, old), SOME).await?;
    let end = crowd.heard()?.now;
    crowd.stop().await?;

    let lasts = |at: u64| at <= safe || at > failed_over + TOLD_LATE;
    let account = until("the clients' books to be right", LIMIT, async || {
        crowd.audit().await?;
        settle(crowd.heard()?, lasts, !beside)
    })
    .await?;
    let phase = |name, from, to, index: usize| Phase {
        name,
        from,
        to,
        member: address(&group, index),
    };
    let phases = [
        phase("fail-over", failed_over, rejoined, new),
        phase("rejoin", rejoined, switched, new),
        phase("switchover", switched, end, old),
    ];
    let label = format!("{} {}", case.ground().version(), case.story());
    case.say(rows(&label, crowd.heard()?, &phases));
    case.say(format!("{label} {}", settled(&account)));
    drop(other);
    ensure!(group.master().await? == old, "the master changed once more");
    Ok(())
}

/// Of the brokers. Transactions are asked after sooner than after a minute, for the story's length; and a busy machine
/// must not look like a broken broker: after 200 ms in its queue a broker turns a message down.
fn settings() -> BTreeMap<String, String> {
    let settings = [
        ("transactionTimeOut", "3000"),
        ("transactionCheckInterval", "5000"),
        ("transactionCheckMax", "100"),
        ("waitTimeMillsInSendQueue", "2500"),
    ];
    settings
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A master of another group in the same cluster.
async fn another(
    case: &Case,
    group: &Group<'_>,
    settings: BTreeMap<String, String>,
) -> Result<Broker> {
    let mut broker = case.ground().broker(BrokerSpec {
        member: "beside".to_owned(),
        group: "beside".to_owned(),
        role: Role::Master,
        name_servers: group.names().addresses.clone(),
        settings,
    })?;
    broker.start()?;
    broker.ready(READY_LIMIT).await?;
    topics(&broker.contact()).await?;
    Ok(broker)
}

async fn topics(contact: &Contact) -> Result<()> {
    for topic in TOPICS {
        let create = CreateTopic {
            topic: topic.to_owned(),
            queues: 4,
            permission: Permission::READ_WRITE,
        };
        contact.ask(&create).await?;
    }
    contact.register_now().await
}
