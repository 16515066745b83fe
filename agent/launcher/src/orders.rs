//! Which orders are taken: pure rules over what the launcher knows. Each refusal says what, why, and the remedy.

use crate::protocol::{
    ErrorKind, Hello, MAX_CLOCK_DIFFERENCE_MS, MAX_GRACE_MS, MAX_JVM_OPTIONS, MAX_PERMIT_MS,
    PROTOCOL, Permit, ReplyError, Role, StartOrder, Term,
};

/// Who a broker was started as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) instance: String,
}

/// The longest option of the JVM.
const MAX_OPTION: usize = 4_096;

/// Same boot, same clock, same language (safety H5).
pub(crate) fn check_hello(hello: &Hello, boot_id: &str, now_ms: u64) -> Result<(), ReplyError> {
    if hello.protocol != PROTOCOL {
        return refuse(
            ErrorKind::Protocol,
            format!(
                "agent speaks protocol {}, this launcher {PROTOCOL}: use images of matching versions",
                hello.protocol
            ),
        );
    }
    if hello.boot_id != boot_id {
        return refuse(
            ErrorKind::BootId,
            format!(
                "agent's boot id is {}, this launcher's {boot_id}: an agent must run on its broker's machine",
                hello.boot_id
            ),
        );
    }
    let difference = hello.boottime_ms.abs_diff(now_ms);
    if difference > MAX_CLOCK_DIFFERENCE_MS {
        return refuse(
            ErrorKind::Clock,
            format!(
                "agent's CLOCK_BOOTTIME differs by {difference} ms (limit {MAX_CLOCK_DIFFERENCE_MS}): the request was \
                 delayed, or the two containers are in different time namespaces"
            ),
        );
    }
    Ok(())
}

/// Whether a start is right, apart from "no broker may be alive". `burned` is the newest epoch that may not be used again.
pub(crate) fn check_start(
    order: &StartOrder,
    nonce: &str,
    burned: Option<u64>,
    now_ms: u64,
) -> Result<(), ReplyError> {
    check_instance(&order.instance, nonce)?;
    if let Some(burned) = burned
        && order.term.epoch <= burned
    {
        return refuse(
            ErrorKind::Term,
            format!(
                "epoch {} is not newer than epoch {burned}, which was used up here: one term is one JVM process, win a \
                 new one",
                order.term.epoch
            ),
        );
    }
    check_until(order.permit_until_ms, now_ms)?;
    if order.permit_until_ms <= now_ms {
        return refuse(
            ErrorKind::Permit,
            format!(
                "permit_until_ms {} has passed (now {now_ms}): renew the Lease first",
                order.permit_until_ms
            ),
        );
    }
    if !order.conf.is_absolute() {
        return refuse(
            ErrorKind::Conf,
            format!("conf {} is no absolute path", order.conf.display()),
        );
    }
    check_options(&order.jvm_options)
}

/// The instance must name this very launcher process (safety H1).
pub(crate) fn check_instance(instance: &str, nonce: &str) -> Result<(), ReplyError> {
    match instance
        .strip_suffix(nonce)
        .and_then(|head| head.strip_suffix('.'))
    {
        Some(pod) if !pod.is_empty() => Ok(()),
        _ => refuse(
            ErrorKind::Instance,
            format!(
                "instance {instance} does not end in .{nonce}: ask for the status and use its launcher_nonce"
            ),
        ),
    }
}

/// Whether a permit is for the broker that runs.
pub(crate) fn check_permit(permit: &Permit, reign: &Reign, now_ms: u64) -> Result<(), ReplyError> {
    if permit.instance != reign.instance {
        return refuse(
            ErrorKind::Instance,
            format!(
                "the broker runs as instance {}, not {}",
                reign.instance, permit.instance
            ),
        );
    }
    if permit.term != reign.term {
        return refuse(
            ErrorKind::Term,
            format!(
                "the broker runs under term {}/{}, not {}/{}",
                reign.term.epoch, reign.term.nonce, permit.term.epoch, permit.term.nonce
            ),
        );
    }
    check_until(permit.until_ms, now_ms)
}

/// Whether a grace is within its limit.
pub(crate) fn check_grace(grace_ms: u64) -> Result<(), ReplyError> {
    if grace_ms > MAX_GRACE_MS {
        return refuse(
            ErrorKind::Grace,
            format!("grace_ms {grace_ms} is above {MAX_GRACE_MS}"),
        );
    }
    Ok(())
}

fn check_until(until_ms: u64, now_ms: u64) -> Result<(), ReplyError> {
    if until_ms > now_ms.saturating_add(MAX_PERMIT_MS) {
        return refuse(
            ErrorKind::Permit,
            format!(
                "permit end {until_ms} is more than {MAX_PERMIT_MS} ms after now ({now_ms}): give CLOCK_BOOTTIME \
                 milliseconds, not wall-clock time"
            ),
        );
    }
    Ok(())
}

fn check_options(options: &[String]) -> Result<(), ReplyError> {
    if options.len() > MAX_JVM_OPTIONS {
        return refuse(
            ErrorKind::JvmOptions,
            format!(
                "{} JVM options, at most {MAX_JVM_OPTIONS} are taken",
                options.len()
            ),
        );
    }
    let is_bad = |option: &&String| {
        !option.starts_with('-')
            || option.len() > MAX_OPTION
            || option
                .chars()
                .any(|letter| letter.is_whitespace() || letter.is_control())
    };
    match options.iter().find(is_bad) {
        Some(option) => refuse(
            ErrorKind::JvmOptions,
            format!(
                "JVM option {option:?} cannot be passed on: it must begin with - and have no blanks"
            ),
        ),
        None => Ok(()),
    }
}

pub(crate) fn refuse<T>(kind: ErrorKind, message: String) -> Result<T, ReplyError> {
    Err(ReplyError { kind, message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0123456789abcdef";
    const NOW: u64 = 1_000_000;

    fn order() -> StartOrder {
        StartOrder {
            role: Role::Master,
            term: Term { epoch: 5, nonce: 1 },
            instance: format!("uid.{NONCE}"),
            conf: "/c".into(),
            permit_until_ms: NOW + 7_000,
            jvm_options: vec!["-Xmx1g".into()],
        }
    }

    fn kind(result: Result<(), ReplyError>) -> ErrorKind {
        result.unwrap_err().kind
    }

    fn start(change: impl FnOnce(&mut StartOrder)) -> Result<(), ReplyError> {
        let mut order = order();
        change(&mut order);
        check_start(&order, NONCE, Some(4), NOW)
    }

    #[test]
    fn hello_wants_the_same_boot_and_clock() {
        let hello = |protocol, boot_id: &str, boottime_ms| {
            let hello = Hello {
                protocol,
                boot_id: boot_id.into(),
                boottime_ms,
                agent_version: String::new(),
            };
            check_hello(&hello, "boot", NOW)
        };
        assert_eq!(hello(PROTOCOL, "boot", NOW - 1_000), Ok(()));
        assert_eq!(hello(PROTOCOL, "boot", NOW + 1_000), Ok(()));
        assert_eq!(kind(hello(PROTOCOL, "boot", NOW + 1_001)), ErrorKind::Clock);
        assert_eq!(kind(hello(PROTOCOL, "boot", 0)), ErrorKind::Clock);
        assert_eq!(kind(hello(PROTOCOL, "other", NOW)), ErrorKind::BootId);
        assert_eq!(kind(hello(PROTOCOL + 1, "boot", NOW)), ErrorKind::Protocol);
    }

    #[test]
    fn one_term_is_one_process() {
        assert_eq!(start(|_| ()), Ok(()));
        assert_eq!(
            kind(start(|order| order.term = Term {
                epoch: 4,
                nonce: 99
            })),
            ErrorKind::Term
        );
        assert_eq!(kind(start(|order| order.term.epoch = 3)), ErrorKind::Term);
        let slave_of_four = |order: &mut StartOrder| {
            order.role = Role::Slave;
            order.term.epoch = 4;
        };
        assert_eq!(kind(start(slave_of_four)), ErrorKind::Term);
    }

    #[test]
    fn a_start_is_for_this_launcher_process() {
        for wrong in [
            NONCE.to_owned(),
            format!(".{NONCE}"),
            format!("uid{NONCE}"),
            "uid.x".into(),
            String::new(),
        ] {
            assert_eq!(
                kind(start(|order| order.instance.clone_from(&wrong))),
                ErrorKind::Instance,
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_wall_clock_time_is_no_permit() {
        assert_eq!(
            kind(start(|order| order.permit_until_ms = 1_800_000_000_000)),
            ErrorKind::Permit
        );
        assert_eq!(
            kind(start(|order| order.permit_until_ms = NOW)),
            ErrorKind::Permit
        );
        assert_eq!(
            kind(start(|order| order.permit_until_ms = 0)),
            ErrorKind::Permit
        );
    }

    #[test]
    fn options_that_the_scripts_would_tear_are_refused() {
        for wrong in ["-Da=b c", "Xmx", "-Da=\n", "", "-Da=\0"] {
            assert_eq!(
                kind(start(|order| order.jvm_options = vec![wrong.into()])),
                ErrorKind::JvmOptions,
                "{wrong:?}"
            );
        }
        assert_eq!(
            kind(start(|order| order.jvm_options = vec!["-X".into(); 65])),
            ErrorKind::JvmOptions
        );
    }

    proptest! {
        #[test]
        fn a_permit_of_another_term_or_instance_is_never_taken(
            epoch in 4u64..7, nonce in 0u64..3, uid in "[ab]", until in any::<u64>(),
        ) {
            let reign = Reign {
                role: Role::Master, term: Term { epoch: 5, nonce: 1 }, instance: format!("a.{NONCE}"),
            };
            let permit = Permit { term: Term { epoch, nonce }, instance: format!("{uid}.{NONCE}"), until_ms: until };
            let taken = check_permit(&permit, &reign, NOW).is_ok();
            let right = permit.term == reign.term && permit.instance == reign.instance && until <= NOW + MAX_PERMIT_MS;
            prop_assert_eq!(taken, right);
        }
    }
}
