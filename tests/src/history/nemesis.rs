//! The nemesis: does a fault to a cluster in its lab, and mends it.

use rcon_lab::{Direction, Lab, LabError};
use tokio::sync::watch;

use super::faults::Kind;
use super::registers::Sockets;

/// Somebody with power over the lab. Clients are told whom they can ask.
#[derive(Debug)]
pub struct Nemesis<'a> {
    lab: &'a Lab,
    sockets: watch::Sender<Sockets>,
}

impl<'a> Nemesis<'a> {
    /// Over a lab whose hosts are all on.
    pub fn new(lab: &'a Lab) -> Result<Self, LabError> {
        let nemesis = Self { lab, sockets: watch::Sender::default() };
        nemesis.tell()?;
        Ok(nemesis)
    }

    /// Where clients learn whom they can ask.
    pub fn sockets(&self) -> watch::Receiver<Sockets> {
        self.sockets.subscribe()
    }

    /// Does it.
    pub fn inflict(&self, kind: Kind, victims: &[String]) -> Result<(), LabError> {
        let names: Vec<&str> = victims.iter().map(String::as_str).collect();
        match kind {
            Kind::Kill => names.iter().try_for_each(|host| {
                self.hide(host);
                self.lab.kill(host, None).map(drop)
            }),
            Kind::PowerOff => names.iter().try_for_each(|host| {
                self.hide(host);
                self.lab.off(host)
            }),
            Kind::Freeze => names.iter().try_for_each(|host| self.lab.freeze(host)),
            Kind::Partition => self.lab.partition(&names, Direction::Both),
            Kind::Mute => self.lab.partition(&names, Direction::OneWay),
            Kind::Deaf => {
                let others: Vec<String> =
                    self.lab.status()?.hosts.into_iter().map(|host| host.name).filter(|host| !victims.contains(host)).collect();
                self.lab.partition(&others.iter().map(String::as_str).collect::<Vec<_>>(), Direction::OneWay)
            }
        }
    }

    /// Mends what [`Nemesis::inflict`] did.
    pub fn mend(&self, kind: Kind, victims: &[String]) -> Result<(), LabError> {
        match kind {
            Kind::Kill => victims.iter().try_for_each(|host| self.lab.start(host))?,
            Kind::PowerOff => victims.iter().try_for_each(|host| self.lab.on(host))?,
            Kind::Freeze => victims.iter().try_for_each(|host| self.lab.thaw(host))?,
            Kind::Partition | Kind::Mute | Kind::Deaf => self.lab.heal()?,
        }
        self.tell()
    }

    fn hide(&self, host: &str) {
        self.sockets.send_modify(|sockets| drop(sockets.remove(host)));
    }

    fn tell(&self) -> Result<(), LabError> {
        let hosts = self.lab.status()?.hosts;
        self.sockets.send_replace(hosts.into_iter().filter_map(|host| Some((host.name, host.socket?))).collect());
        Ok(())
    }
}
