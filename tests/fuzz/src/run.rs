//! Inputs by number: making them, reading them, and what came of it.

use crate::chance::Chance;
use crate::clock::Watch;
use crate::heap;
use crate::mutate::mutate;
use crate::target::Target;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// An input that took so many seconds is said to hang.
const HANGS: u32 = 60;

/// Inputs kept for more: enough to reach what needs several steps, few enough that each gets its turn.
const POOL: usize = 2_000;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Against what.
    pub target: &'static Target,
    /// So many inputs.
    pub inputs: u64,
    /// Made from this.
    pub seed: u64,
    /// Stop after so many findings.
    pub enough: usize,
}

/// An input that broke something.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which input of the run.
    pub number: u64,
    /// What is wrong.
    pub wrong: String,
    /// The input.
    pub input: Vec<u8>,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Inputs read.
    pub inputs: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// The longest time that one input took.
    pub slowest: Duration,
    /// The most memory that one input asked for, bytes.
    pub memory: usize,
    /// Kinds of outcome.
    pub shapes: usize,
    /// The first input of each kind that the pool did not have at the start.
    pub news: Vec<Vec<u8>>,
    /// What broke.
    pub findings: Vec<Finding>,
}

/// Runs it in a thread of its own, so that an input that hangs can be told.
///
/// # Errors
/// The number of the input that hangs.
pub fn run(order: Order) -> Result<Told, String> {
    let at = Arc::new(AtomicU64::new(0));
    let (send, receive) = mpsc::channel();
    let progress = Arc::clone(&at);
    thread::spawn(move || {
        let _nobody_waits = send.send(work(order, &progress));
    });
    let (mut last, mut still) = (0, 0);
    loop {
        match receive.recv_timeout(Duration::from_secs(1)) {
            Ok(told) => return Ok(told),
            Err(RecvTimeoutError::Disconnected) => return Err("the worker is gone".into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = at.load(Ordering::Relaxed);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        if still >= HANGS {
            let (name, seed) = (order.target.name, order.seed);
            return Err(format!("{name}: input {now} of seed {seed} hangs"));
        }
    }
}

fn work(order: Order, at: &AtomicU64) -> Told {
    let target = order.target;
    let mut told = Told::default();
    let mut shapes = HashSet::new();
    let mut pool = target.pool();
    let began = pool.len();
    let watch = Watch::start();
    let mut chance = Chance::new(order.seed);
    let mut input = Vec::new();
    let first = u64::try_from(began).unwrap_or(u64::MAX);
    for number in 0..order.inputs.max(first) {
        at.store(number, Ordering::Relaxed);
        input.clear();
        let seed = usize::try_from(number).ok().filter(|n| *n < began);
        if let Some(seed) = seed.and_then(|n| pool.get(n)) {
            input.extend_from_slice(seed);
        } else {
            let base = chance.pick(&pool).map_or(&[][..], Vec::as_slice);
            input.extend_from_slice(base);
            mutate(&mut input, &mut chance, &pool, target.words, target.longest);
        }
        let (outcome, memory, took) = read(target, &input);
        told.inputs += 1;
        told.bytes += u64::try_from(input.len()).unwrap_or_default();
        told.memory = told.memory.max(memory);
        told.slowest = told.slowest.max(took);
        match outcome {
            Ok(shape) => {
                let new = shapes.insert(shape);
                if new && number >= first && pool.len() < POOL {
                    told.news.push(input.clone());
                    pool.push(input.clone());
                }
            }
            Err(wrong) => {
                told.findings.push(Finding {
                    number,
                    wrong,
                    input: input.clone(),
                });
                if told.findings.len() >= order.enough {
                    break;
                }
            }
        }
    }
    told.shapes = shapes.len();
    told.took = watch.elapsed();
    told
}

fn read(target: &Target, input: &[u8]) -> (Result<u64, String>, usize, Duration) {
    let watch = Watch::start();
    let check = || catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    let (outcome, memory) = heap::counted(check);
    let took = watch.elapsed();
    let allowed = (target.memory)(input.len());
    let outcome = match outcome {
        Err(panic) => Err(format!("panics: {}", message(panic.as_ref()))),
        Ok(Ok(_)) if memory > allowed => Err(format!(
            "asks for {memory} bytes, allowed are {allowed} for {} bytes of input",
            input.len()
        )),
        Ok(outcome) => outcome,
    };
    (outcome, memory, took)
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}
