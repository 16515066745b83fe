//! Replication: through the launchers, and only to who is admitted.

use crate::laws::Law;
use crate::machine::Power;
use crate::time;
use crate::world::World;
use agent_core::observation::Upstream;
use agent_core::report::Role;

impl World {
    /// Brings every slave up to date, and shows everybody what streams.
    pub(crate) fn replicate(&mut self) {
        for i in self.members() {
            let from = self.source(i);
            let link = from.filter(|from| self.takes_bytes(i, *from));
            let machine = &mut self.machines[i];
            let upstream = match (&machine.attached, link) {
                (None, _) => Upstream::Parked,
                (Some((term, ..)), Some(_)) => Upstream::Streaming { term: *term },
                (Some((term, ..)), None) => Upstream::Connecting { term: *term },
            };
            let (was, old) = (machine.link, machine.log.end());
            machine.news |= machine.upstream != upstream;
            machine.upstream = upstream;
            machine.link = link;
            if let Some(from) = link {
                let log = self.machines[from].log.clone();
                self.machines[i].log = log;
            }
            let end = self.machines[i].log.end();
            if was != link || old != end {
                for n in [was, link].into_iter().flatten() {
                    self.machines[n].news = true;
                }
            }
            self.machines[i].news |= old != end;
        }
    }

    /// I4: who is let in without being a prefix of its master would be overwritten.
    fn takes_bytes(&mut self, i: usize, from: usize) -> bool {
        let prefix = self.machines[i].log.is_prefix_of(&self.machines[from].log);
        if !prefix {
            self.blame(Law::I4);
        }
        prefix
    }

    /// Whose launcher would stream to this one.
    fn source(&self, i: usize) -> Option<usize> {
        let slave = &self.machines[i];
        let (term, from, instance) = slave.attached.as_ref()?;
        let jvm = slave
            .jvm
            .as_ref()
            .filter(|j| j.role == Role::Slave && j.up)?;
        let master = self.machines.get(*from)?;
        let serves = master
            .master()
            .is_some_and(|j| j.up && j.term == *term && time::now().boot < j.permit);
        let admitted = master.admitted.as_ref();
        let admitted =
            admitted.is_some_and(|(of, k)| *of == *term && k.contains(&slave.volume.who));
        let lives = slave.power == Power::On && self.reach(i, *from);
        let same = jvm.term == *term && master.instance() == *instance;
        (lives && same && serves && admitted).then_some(*from)
    }
}
