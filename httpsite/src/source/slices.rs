//! The ready endpoints of some EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, ResourceExt as _};
use kube_access::{ApiCounter, IDLE, Objects, Sight};
use tokio::sync::Notify;

use super::configmap::{LIMIT, Outage};
use super::{SlicePort, Voice};
use crate::name_server::{NameServer, ServerSet};

/// Says the ready endpoints, now and at every change; for ever.
pub async fn follow(
    client: Client,
    namespace: String,
    labels: String,
    port: SlicePort,
    counter: ApiCounter,
    voice: Voice,
) {
    let api: Api<EndpointSlice> = if namespace.is_empty() {
        Api::default_namespaced(client)
    } else {
        Api::namespaced(client, &namespace)
    };
    let objects = Objects {
        api,
        resource: "endpointslices",
        labels: Some(labels),
        fields: None,
        limit: LIMIT,
        idle: IDLE,
        counter,
    };
    let never = Notify::new();
    let mut outage = Outage::default();
    let mut slices: BTreeMap<String, ServerSet> = BTreeMap::new();
    objects
        .follow(&never, |sight| {
            if let Some(fault) = outage.after(&sight) {
                return voice.complain(fault);
            }
            match sight {
                Sight::All(items) => {
                    let read = |slice: &EndpointSlice| (slice.name_any(), ready(slice, &port));
                    slices = items.iter().map(read).collect();
                }
                Sight::Changed(slice) => {
                    slices.insert(slice.name_any(), ready(&slice, &port));
                }
                Sight::Gone(slice) => {
                    slices.remove(&slice.name_any());
                }
                Sight::Asking | Sight::Current => return,
            }
            // An endpoint may stand in two slices while it moves from one to the other.
            voice.say(slices.values().flatten().cloned().collect());
        })
        .await;
}

/// The ready endpoints of one slice. One that is terminating is not ready.
fn ready(slice: &EndpointSlice, wanted: &SlicePort) -> ServerSet {
    let ports = slice.ports.iter().flatten();
    let is_wanted = |name: Option<&str>, number: i32| match wanted {
        SlicePort::Named(wanted) => name == Some(wanted),
        SlicePort::Number(wanted) => number == i32::from(*wanted),
    };
    let ports: Vec<u16> = ports
        .filter(|port| {
            port.protocol
                .as_deref()
                .is_none_or(|protocol| protocol == "TCP")
        })
        .filter_map(|port| Some((port.name.as_deref(), port.port?)))
        .filter(|(name, number)| is_wanted(*name, *number))
        .filter_map(|(_, number)| u16::try_from(number).ok())
        .collect();
    let endpoints = slice.endpoints.iter().filter(|endpoint| {
        // A missing condition means ready (Kubernetes API conventions of EndpointConditions).
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|c| c.ready).unwrap_or(true)
    });
    endpoints
        // All addresses of one endpoint are the same server; consumers are to take the first.
        .filter_map(|endpoint| endpoint.addresses.first()?.parse::<IpAddr>().ok())
        .flat_map(|ip| {
            ports
                .iter()
                .filter_map(move |port| NameServer::new(ip, *port).ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(
        kind: &str,
        ports: &serde_json::Value,
        endpoints: &serde_json::Value,
    ) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "a"}, "addressType": kind, "ports": ports, "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn shown(slice: &EndpointSlice, port: &SlicePort) -> String {
        let set = ready(slice, port);
        let items: Vec<_> = set.iter().map(ToString::to_string).collect();
        items.join(";")
    }

    #[test]
    fn only_ready_endpoints_count_and_the_port_goes_by_name_or_number() {
        let ports = json!([
            {"name": "remoting", "port": 9876, "protocol": "TCP"},
            {"name": "metrics", "port": 9090},
            {"name": "remoting", "port": 9877, "protocol": "UDP"},
        ]);
        let endpoints = json!([
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["ns.example.org"], "conditions": {"ready": true}},
        ]);
        let slice = slice("IPv4", &ports, &endpoints);
        let named = SlicePort::Named("remoting".to_owned());
        assert_eq!(shown(&slice, &named), "10.0.0.1:9876;10.0.0.3:9876");
        let number = SlicePort::Number(9090);
        assert_eq!(shown(&slice, &number), "10.0.0.1:9090;10.0.0.3:9090");
        assert_eq!(shown(&slice, &SlicePort::Number(1)), "");
    }

    #[test]
    fn ipv6_gets_brackets_and_an_empty_slice_is_no_fault() {
        let ports = json!([{"port": 9876}]);
        let six = slice("IPv6", &ports, &json!([{"addresses": ["fd00::1"]}]));
        assert_eq!(shown(&six, &SlicePort::Number(9876)), "[fd00::1]:9876");
        let empty = slice("IPv4", &json!(null), &json!([]));
        assert_eq!(shown(&empty, &SlicePort::Number(9876)), "");
    }
}
