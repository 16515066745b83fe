//! The resources that exist, and what differs between them on a real server.

/// One resource of one API version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    /// Where its objects are stored: two versions of one resource share a collection.
    pub(crate) collection: &'static str,
    pub(crate) scope: Scope,
    /// Whether `/status` is a resource of its own.
    pub(crate) status: Subresource,
    /// What a PUT without a resourceVersion does.
    pub(crate) unversioned_put: UnversionedPut,
    /// What a PUT to a name that does not exist does.
    pub(crate) absent_put: AbsentPut,
    /// Which changes raise `metadata.generation`.
    pub(crate) generation: Generation,
    /// Fields beside `metadata.name` and `metadata.namespace` that a field selector may name.
    pub(crate) fields: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subresource {
    Separate,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnversionedPut {
    Overwrites,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AbsentPut {
    Creates,
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The kind keeps none.
    None,
    /// Raised by a change of the spec.
    Spec,
    /// Raised by a change of anything but metadata, and of labels.
    ContentAndLabels,
}

impl Kind {
    /// The resource at `/apis/<group>/<version>/…/<plural>`.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// Whether the server has any resource of that API.
    pub(crate) fn is_served(group: &str, version: &str) -> bool {
        KINDS
            .iter()
            .any(|k| k.group == group && k.version == version)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// As error messages name it: `leases.coordination.k8s.io`, `pods`.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// What most kinds are.
const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    collection: "",
    scope: Scope::Namespaced,
    status: Subresource::None,
    unversioned_put: UnversionedPut::Overwrites,
    absent_put: AbsentPut::NotFound,
    generation: Generation::None,
    fields: &[],
};

static KINDS: [Kind; 8] = [
    Kind {
        plural: "namespaces",
        kind: "Namespace",
        collection: "namespaces",
        scope: Scope::Cluster,
        status: Subresource::Separate,
        fields: &["status.phase"],
        ..PLAIN
    },
    Kind {
        plural: "nodes",
        kind: "Node",
        collection: "nodes",
        scope: Scope::Cluster,
        status: Subresource::Separate,
        fields: &["spec.unschedulable"],
        ..PLAIN
    },
    Kind {
        plural: "pods",
        kind: "Pod",
        collection: "pods",
        status: Subresource::Separate,
        generation: Generation::Spec,
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..PLAIN
    },
    Kind {
        plural: "configmaps",
        kind: "ConfigMap",
        collection: "configmaps",
        ..PLAIN
    },
    Kind {
        plural: "events",
        kind: "Event",
        collection: "events",
        absent_put: AbsentPut::Creates,
        fields: EVENT_FIELDS,
        ..PLAIN
    },
    Kind {
        group: "events.k8s.io",
        plural: "events",
        kind: "Event",
        collection: "events",
        absent_put: AbsentPut::Creates,
        fields: EVENT_FIELDS,
        ..PLAIN
    },
    // A PUT creates an absent Lease, whatever resourceVersion it carries; only a uid in it prevents that (409).
    // Kubernetes pkg/registry/coordination/lease/strategy.go.
    Kind {
        group: "coordination.k8s.io",
        plural: "leases",
        kind: "Lease",
        collection: "leases",
        unversioned_put: UnversionedPut::Refused,
        absent_put: AbsentPut::Creates,
        ..PLAIN
    },
    Kind {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        kind: "EndpointSlice",
        collection: "endpointslices",
        generation: Generation::ContentAndLabels,
        ..PLAIN
    },
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
