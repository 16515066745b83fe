//! The calls, one file per subject. Each is a value to be given to `Client::ask` or
//! [`blocking::Connection::ask`](crate::blocking::Connection::ask).

mod broker_config;
mod cluster_info;
mod ha_info;
mod ha_status;
mod metadata;
mod name_server;
mod pull;
mod queue_offset;
mod registration;
mod reply;
mod route;
mod runtime_info;
mod send;
mod topic;
mod topics;
mod view_message;

pub use broker_config::{
    BrokerConfig, BrokerRole, GetBrokerConfig, MasterRole, UpdateBrokerConfig,
};
pub use cluster_info::{BrokerGroup, ClusterInfo, GetClusterInfo, UnregisterBroker};
pub use ha_info::{GetHaInfo, HaInfo, SetHaMaster};
pub use ha_status::{GetHaStatus, HaConnection, HaSource, HaStatus};
pub use metadata::{GetMetadata, Metadata, MetadataTable};
pub use name_server::ProbeNameServer;
pub use pull::{PullMessages, PullStatus, Pulled};
pub use queue_offset::{GetConsumerOffset, GetMaxOffset, GetMinOffset, SetConsumerOffset};
pub use registration::{DataVersion, GetRegisteredVersion, RegisterBroker};
pub use route::{GetRoute, QueueData, Route};
pub use runtime_info::{GetRuntimeInfo, RuntimeInfo};
pub use send::{InvalidProperty, SendMessage, SendStatus, Sent};
pub use topic::{CreateTopic, Permission};
pub use topics::{GetTopics, Topic, Topics};
pub use view_message::ViewMessage;
