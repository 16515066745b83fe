//! Starts what listens to a source.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;

use crate::kubernetes::{Kube, needed};
use crate::name_server::{HostNames, parse_servers};
use crate::settings::Settings;
use crate::source::{Source, Voice, configmap, dns, file, slices};
use crate::tasks::Tasks;

/// What sources are listened to with.
pub(crate) struct Listener<'a> {
    names: HostNames,
    dns_servers: &'a [SocketAddr],
    kube: Option<&'a Kube>,
    /// One for all DNS sources: it keeps what it looked up.
    resolver: Option<TokioResolver>,
}

impl<'a> Listener<'a> {
    pub(crate) fn new(settings: &'a Settings, kube: Option<&'a Kube>) -> Self {
        Self {
            names: settings.names,
            dns_servers: &settings.dns_servers,
            kube,
            resolver: None,
        }
    }

    /// From now on `voice` says what this source names.
    ///
    /// # Errors
    /// When what it needs is not set up.
    pub(crate) fn listen(
        &mut self,
        source: &Source,
        voice: Voice,
        tasks: &mut Tasks,
    ) -> anyhow::Result<()> {
        let names = self.names;
        match source.clone() {
            Source::Static(servers) => {
                voice.say(servers);
                Ok(())
            }
            Source::File(path) => {
                tasks.spawn(
                    "file",
                    file::follow(path, move |text| {
                        voice.tell(text.and_then(|text| {
                            parse_servers(&text, names).map_err(|error| error.to_string())
                        }));
                    }),
                );
                Ok(())
            }
            Source::ConfigMap { object, key } => {
                let kube = needed(self.kube)?;
                let counter = kube.counter.clone();
                let place = format!("{} of ConfigMap {}", key, object.name);
                let task = configmap::follow(kube.client.clone(), object, counter, move |seen| {
                    voice.tell(seen.and_then(|map| {
                        let data = map.and_then(|map| map.data.as_ref());
                        let text = data.and_then(|data| data.get(&key));
                        let text = text.ok_or_else(|| format!("{place} does not exist"))?;
                        parse_servers(text, names).map_err(|error| format!("{place}: {error}"))
                    }));
                });
                tasks.spawn("configmap", task);
                Ok(())
            }
            Source::Slices {
                namespace,
                labels,
                port,
            } => {
                let kube = needed(self.kube)?;
                let (client, counter) = (kube.client.clone(), kube.counter.clone());
                tasks.spawn(
                    "endpointslices",
                    slices::follow(client, namespace, labels, port, counter, voice),
                );
                Ok(())
            }
            Source::Dns { name, port } => {
                let question = dns::Question::Addresses(name, port);
                tasks.spawn("dns", dns::follow(self.resolver()?, question, voice));
                Ok(())
            }
            Source::Srv { name } => {
                let question = dns::Question::Services(name);
                tasks.spawn("dns", dns::follow(self.resolver()?, question, voice));
                Ok(())
            }
        }
    }

    fn resolver(&mut self) -> anyhow::Result<TokioResolver> {
        if let Some(resolver) = &self.resolver {
            return Ok(resolver.clone());
        }
        Ok(self
            .resolver
            .insert(dns::resolver(self.dns_servers)?)
            .clone())
    }
}
