//! An in-memory Kubernetes API, as far as our programs need one.
