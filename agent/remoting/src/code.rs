//! The numbers that name requests and replies.

use std::fmt;

/// Request codes (`RequestCode`, checked in 4.9 and 5.x).
pub mod request {
    /// Pull stored messages.
    pub const PULL_MESSAGE: i32 = 11;
    /// Read a consumer group's position in one queue.
    pub const QUERY_CONSUMER_OFFSET: i32 = 14;
    /// Write a consumer group's position in one queue.
    pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
    /// Create or change a topic.
    pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
    /// Read all topics of a broker.
    pub const GET_ALL_TOPIC_CONFIG: i32 = 21;
    /// Change configuration keys of a running broker.
    pub const UPDATE_BROKER_CONFIG: i32 = 25;
    /// Read the whole configuration of a broker.
    pub const GET_BROKER_CONFIG: i32 = 26;
    /// Read a broker's counters and offsets.
    pub const GET_BROKER_RUNTIME_INFO: i32 = 28;
    /// The end of one queue.
    pub const GET_MAX_OFFSET: i32 = 30;
    /// The start of one queue.
    pub const GET_MIN_OFFSET: i32 = 31;
    /// Read one record by its offset in the commit log.
    pub const VIEW_MESSAGE_BY_ID: i32 = 33;
    /// Read all consumer groups' positions.
    pub const GET_ALL_CONSUMER_OFFSET: i32 = 43;
    /// Read how far delayed messages have been delivered.
    pub const GET_ALL_DELAY_OFFSET: i32 = 45;
    /// Register a broker and its topics with a name server.
    pub const REGISTER_BROKER: i32 = 103;
    /// Remove a broker's route from a name server.
    pub const UNREGISTER_BROKER: i32 = 104;
    /// The route of one topic.
    pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
    /// All brokers that a name server knows.
    pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
    /// Read all consumer groups' settings.
    pub const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
    /// Send a message, with one-letter argument names.
    pub const SEND_MESSAGE_V2: i32 = 310;
    /// Read a name server's configuration: no locks, so also the cheapest probe.
    pub const GET_NAMESRV_CONFIG: i32 = 319;
    /// The version of the topics that a broker registered with a name server.
    pub const QUERY_DATA_VERSION: i32 = 322;
    /// Read or set where a slave replicates from (5.x).
    pub const EXCHANGE_BROKER_HA_INFO: i32 = 906;
    /// How replication goes (5.x).
    pub const GET_BROKER_HA_STATUS: i32 = 907;
}

/// How a request went (`ResponseCode`, `RemotingSysResponseCode`). Unknown numbers are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseCode(i32);

#[allow(missing_docs)] // Java's names, explained where they are not obvious
impl ResponseCode {
    pub const SUCCESS: Self = Self(0);
    /// Any exception in the server, ACL 1.0 refusals and the closed send gate included.
    pub const SYSTEM_ERROR: Self = Self(1);
    /// Overload, or a 5.x broker whose role is SLAVE. Always worth a retry.
    pub const SYSTEM_BUSY: Self = Self(2);
    pub const REQUEST_CODE_NOT_SUPPORTED: Self = Self(3);
    /// Stored, but not on disk in time.
    pub const FLUSH_DISK_TIMEOUT: Self = Self(10);
    /// Stored, but no slave was there to wait for (4.9).
    pub const SLAVE_NOT_AVAILABLE: Self = Self(11);
    /// Stored, but not acknowledged by enough slaves in time.
    pub const FLUSH_SLAVE_TIMEOUT: Self = Self(12);
    pub const MESSAGE_ILLEGAL: Self = Self(13);
    /// Not writable: role SLAVE, or the disk is full.
    pub const SERVICE_NOT_AVAILABLE: Self = Self(14);
    pub const NO_PERMISSION: Self = Self(16);
    pub const TOPIC_NOT_EXIST: Self = Self(17);
    pub const PULL_NOT_FOUND: Self = Self(19);
    pub const PULL_RETRY_IMMEDIATELY: Self = Self(20);
    pub const PULL_OFFSET_MOVED: Self = Self(21);
    pub const QUERY_NOT_FOUND: Self = Self(22);
    pub const SUBSCRIPTION_GROUP_NOT_EXIST: Self = Self(26);
    pub const INVALID_PARAMETER: Self = Self(29);
    pub const FLOW_CONTROL: Self = Self(215);
    /// The server is stopping gracefully.
    pub const GO_AWAY: Self = Self(1500);
}

const NAMES: [(ResponseCode, &str); 19] = [
    (ResponseCode::SUCCESS, "SUCCESS"),
    (ResponseCode::SYSTEM_ERROR, "SYSTEM_ERROR"),
    (ResponseCode::SYSTEM_BUSY, "SYSTEM_BUSY"),
    (
        ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
        "REQUEST_CODE_NOT_SUPPORTED",
    ),
    (ResponseCode::FLUSH_DISK_TIMEOUT, "FLUSH_DISK_TIMEOUT"),
    (ResponseCode::SLAVE_NOT_AVAILABLE, "SLAVE_NOT_AVAILABLE"),
    (ResponseCode::FLUSH_SLAVE_TIMEOUT, "FLUSH_SLAVE_TIMEOUT"),
    (ResponseCode::MESSAGE_ILLEGAL, "MESSAGE_ILLEGAL"),
    (ResponseCode::SERVICE_NOT_AVAILABLE, "SERVICE_NOT_AVAILABLE"),
    (ResponseCode::NO_PERMISSION, "NO_PERMISSION"),
    (ResponseCode::TOPIC_NOT_EXIST, "TOPIC_NOT_EXIST"),
    (ResponseCode::PULL_NOT_FOUND, "PULL_NOT_FOUND"),
    (
        ResponseCode::PULL_RETRY_IMMEDIATELY,
        "PULL_RETRY_IMMEDIATELY",
    ),
    (ResponseCode::PULL_OFFSET_MOVED, "PULL_OFFSET_MOVED"),
    (ResponseCode::QUERY_NOT_FOUND, "QUERY_NOT_FOUND"),
    (
        ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
        "SUBSCRIPTION_GROUP_NOT_EXIST",
    ),
    (ResponseCode::INVALID_PARAMETER, "INVALID_PARAMETER"),
    (ResponseCode::FLOW_CONTROL, "FLOW_CONTROL"),
    (ResponseCode::GO_AWAY, "GO_AWAY"),
];

impl ResponseCode {
    /// The code of this number.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Java's name for it, if we know it.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(code, _)| *code == self)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
